// Package release says which release of Postern a program was built from.
//
// What it says is in stamp.go, which is that of a checkout: localdev/pack builds
// packages with another one in its place. The constants of a source file reach
// every program in the same way, also one that a cloud builds of source later,
// and no code can assign them. The package must not know what is made of them.
package release

const (
	// Version is the release, such as v1.4.0, or what git calls a source that is
	// none: v1.4.0-3-g4c0ab5a8e1d2, with -dirty behind it where the source was
	// changed after the commit. It is "development" in what nobody has packaged,
	// and made of the characters that a product's version in a User-Agent may have.
	Version = version
	// Commit is the source's, in hexadecimal, with -dirty behind it as in
	// Version. It is empty where it is not known.
	Commit = commit
)
