package front

import "syscall"

// attributes gives a child a process group of its own. Darwin cannot tie it to the death of this program.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
