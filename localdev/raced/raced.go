// Package raced says whether the race detector is on. It is for tests, some of
// which take ten times as long with it: those do a part under the race detector,
// which finds what it is for, and all without it. make test runs both. It must
// not know which tests they are: the Makefile names their packages.
package raced

// Enabled reports whether the race detector is on.
const Enabled = enabled
