package gcpkeys

import "crypto/rsa"

// SetGenerate replaces how keys are made, which takes a while.
func (k *AccountKeys) SetGenerate(generate func() (*rsa.PrivateKey, error)) { k.generate = generate }
