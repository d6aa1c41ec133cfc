package front

import "syscall"

// attributes gives a child a process group of its own, and lets the kernel kill it when this program dies, however it
// dies.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
