package rotatekit

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/postern-ai/postern/shared/rotation"
)

// Verb is what a schedule or an operator asks for.
type Verb string

// The verbs.
const (
	// Rotate does what is due, for all keys or for one.
	Rotate Verb = "rotate"
	// Status tells where each rotation stands, and changes nothing.
	Status Verb = "status"
	// Force rotates one key now, due or not.
	Force Verb = "force"
	// Pause and Resume stop the rotation of one key and have it go on.
	Pause  Verb = "pause"
	Resume Verb = "resume"
	// Rollback makes one key's predecessor current again.
	Rollback Verb = "rollback"
	// Emergency replaces one key and ends the old one at once.
	Emergency Verb = "emergency"
)

// Verbs are all verbs.
func Verbs() []Verb { return []Verb{Rotate, Status, Force, Pause, Resume, Rollback, Emergency} }

// Command is what is asked for. Its JSON is {"postern":"rotate"} or
// {"postern":"force","credential":"openai","actor":"jane"}.
type Command struct {
	Verb Verb `json:"postern"`
	// Credential is the name of a key under rotation. Verbs that change one
	// need it.
	Credential string `json:"credential,omitzero"`
	// Actor says who asks. It becomes part of the audit events.
	Actor string `json:"actor,omitzero"`
	// DisableFirst has an emergency stop the key in use before there is another
	// one.
	DisableFirst bool `json:"disable_first,omitzero"`
}

// ErrCommand is wrapped when a command makes no sense. Its text says why.
var ErrCommand = errors.New("not a command")

// maxCommand bounds the text of a command, in bytes.
const maxCommand = 4 << 10

// ParseCommand reads a command. The error never quotes it.
func ParseCommand(text []byte) (Command, error) {
	var c Command
	refuse := func(why string) (Command, error) {
		return Command{}, fmt.Errorf(`%w: %s; send {"postern":"rotate"}, or another of %v with "credential"`, ErrCommand, why, Verbs())
	}
	if len(text) > maxCommand {
		return refuse(fmt.Sprintf("it is longer than %d bytes", maxCommand))
	}
	if err := json.Unmarshal(text, &c, json.RejectUnknownMembers(true)); err != nil {
		return refuse("it is not a JSON object of postern, credential, actor and disable_first")
	}
	switch changes := c.Verb != Rotate && c.Verb != Status; {
	case !slices.Contains(Verbs(), c.Verb):
		return refuse("there is no such verb")
	case changes && c.Credential == "":
		return refuse("the credential is missing")
	case !changes && c.Actor != "":
		return refuse("an actor has no effect with this verb")
	case c.DisableFirst && c.Verb != Emergency:
		return refuse("disable_first has an effect with emergency alone")
	case len(c.Actor) > 200:
		return refuse("the actor is longer than 200 bytes")
	}
	return c, nil
}

// Do does what is asked for and returns what is to be said about it. A verb
// that changes a key goes on with its rotation at once.
func (r *Rotator) Do(ctx context.Context, c Command) (any, error) {
	request := rotation.Request{Credential: c.Credential, Actor: c.Actor, DisableFirst: c.DisableFirst}
	change := map[Verb]func(context.Context, rotation.Request) error{
		Force: r.job.Force, Pause: r.job.Pause, Resume: r.job.Resume, Rollback: r.job.Rollback, Emergency: r.job.Emergency,
	}[c.Verb]
	switch {
	case c.Verb == Status:
		return r.job.Status(ctx)
	case change != nil:
		if err := change(ctx, request); err != nil {
			return nil, err
		}
		return r.one(ctx, c.Credential)
	case c.Credential != "":
		return r.one(ctx, c.Credential)
	}
	return r.Run(ctx)
}
