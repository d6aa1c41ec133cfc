package kit

import "os"

// Roots has TLS trust the authorities in the system's bundle, and read them only
// once. It is for a main to call before anything connects.
//
// By itself crypto/x509 reads the bundle and then every file in two folders,
// which on the platforms' images hold the same certificates again: under the
// bundle's other name, or each in a file of its own. That is two thirds of the 12
// to 15 ms of CPU that a new instance's first connection by TLS waits for them.
//
// An operator who names a file or folders in SSL_CERT_FILE or SSL_CERT_DIR gets
// what those say. Without a bundle nothing changes.
func Roots() { trustBundle(os.Getenv, os.Setenv, bundles()) }

// bundles are where distributions keep the certificates of all authorities in
// one file, in the order of crypto/x509 (root_linux.go), of which the first
// counts.
func bundles() []string {
	return []string{
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/ca-bundle.pem",
		"/etc/pki/tls/cacert.pem",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
		"/etc/ssl/cert.pem",
	}
}

// trustBundle names the first bundle that is there, and no folder, in the
// variables of crypto/x509, which OpenSSL reads too.
func trustBundle(getenv func(string) string, setenv func(name, value string) error, files []string) {
	if getenv("SSL_CERT_FILE") != "" || getenv("SSL_CERT_DIR") != "" {
		return
	}
	for _, file := range files {
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
			// A variable that cannot be set leaves the system's way.
			if setenv("SSL_CERT_FILE", file) == nil {
				_ = setenv("SSL_CERT_DIR", os.DevNull)
			}
			return
		}
	}
}
