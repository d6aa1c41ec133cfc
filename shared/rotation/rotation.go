// Package rotation renews stored provider keys without a gap: it creates the next key, proves that it works, makes it current, waits until
// nobody uses the old one, and revokes that, so that a crash at any point loses nothing and leaves no usable key behind that nobody knows.
//
// An [Issuer] makes and revokes the keys of one provider. A secrets.Store holds them, a ledger.Ledger what is under way, and an
// audit.Publisher is told of each step.
//
// The package must not know any provider, store or bus by name, nor what a key is used for.
package rotation
