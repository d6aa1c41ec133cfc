package front_test

// parentChild has no test on Darwin, which cannot tie a child to its parent.
func parentChild() {}
