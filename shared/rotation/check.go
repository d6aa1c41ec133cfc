package rotation

import (
	"errors"
	"fmt"

	"github.com/postern-ai/postern/shared/audit"
)

// Check returns all that is wrong with the job, each with the credential's name and the field. Whatever begins or ends something does it first.
func (j *Job) Check() error {
	var problems []error
	add := func(problem string) { problems = append(problems, errors.New("rotation: "+problem)) }
	if j.Ledger == nil {
		add("Ledger is missing: without it nobody knows what is under way")
	}
	if j.Store == nil {
		add("Store is missing: the keys are replaced there")
	}
	if j.Audit == nil {
		add("Audit is missing: a rotation that nobody is told of is none")
	}
	names, places := map[string]bool{}, map[string]string{}
	for i := range j.Credentials {
		c := &j.Credentials[i]
		for _, problem := range c.problems() {
			problems = append(problems, fmt.Errorf("rotation of %q: %w", c.Name, problem))
		}
		if names[c.Name] {
			add(fmt.Sprintf("two credentials have the name %q: give each its own", c.Name))
		}
		names[c.Name] = true
		// All are in the one store, whether the reference says so or not.
		if other, taken := places[c.Ref.Name]; taken {
			add(fmt.Sprintf("the credentials %q and %q are stored in one secret, which holds one key under rotation: store one of them elsewhere", other, c.Name))
		}
		places[c.Ref.Name] = c.Name
	}
	return errors.Join(problems...)
}

// problems are what is wrong with a credential.
func (c *Credential) problems() []error {
	var problems []error
	add := func(wrong bool, problem string) {
		if wrong {
			problems = append(problems, errors.New(problem))
		}
	}
	add(c.Name == "", "Name is missing")
	add(c.Ref.Name == "", "Ref is missing: it says where the key is stored")
	add(c.Ref.Version != "", "Ref has a version, and a rotation makes new ones: leave it out")
	add(c.Verifier == nil, "Verifier is missing: no key is used that has not proven itself")
	add(c.Every <= 0, "Every is not positive")
	add(c.Grace < 0, "Grace is negative")
	add(c.MaxGrace < c.Grace, "MaxGrace is shorter than Grace: make it at least as long")
	add(c.Successes < 0, "Successes is negative")
	if c.Issuer == nil {
		add(true, "Issuer is missing: it makes the keys")
		return problems
	}
	traits := c.Issuer.Traits()
	_, chooses := c.Issuer.(Chooser)
	_, recovers := c.Issuer.(Recoverer)
	add(traits.Recovery == Chosen && !chooses, "Issuer declares that its keys are chosen, and chooses none")
	add(traits.Recovery == Readable && traits.Overlap != TwoSlots && !recovers, "Issuer declares that its keys can be read again, and reads none")
	add(traits.Overlap == InPlace && traits.Recovery != Chosen && !recovers, "Issuer replaces keys in place and cannot read the new one again: nothing would be left if a reply were lost")
	// An event that cannot be made would stop the rotation in its middle.
	about := c.About
	about.Name, about.CredentialRef, about.Cycle, about.Reason = c.Name, c.Ref.String(), audit.Cycle{ID: uuid()}, audit.ReasonScheduled
	if _, err := (audit.OperatorDue{Credential: about, Task: "-", Due: wall()}).Event(wall()); err != nil && c.Name != "" {
		problems = append(problems, fmt.Errorf("no event can be made of About: %w", err))
	}
	return problems
}
