package anthropic

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/shared/chat"
)

// cacheControl is the member with which a caller marks up to where a prompt is
// cached. OpenAI has none; this is Anthropic's own, and the one that clients
// send to servers of OpenAI's wire that pass it on.
const cacheControl = "cache_control"

// cacheOf finds the mark among the unknown members of an object, where
// [chat.Request.Check] has left nothing else.
func cacheOf(unknown jsontext.Value) jsontext.Value {
	if len(unknown) == 0 {
		return nil
	}
	var members struct {
		CacheControl jsontext.Value `json:"cache_control"`
	}
	if json.Unmarshal(unknown, &members) != nil || !isSet(members.CacheControl) {
		return nil
	}
	return members.CacheControl
}

// mark puts a mark on a block, nil where there is nothing that it could stand
// on.
func mark(b *block, v jsontext.Value, where place) error {
	switch {
	case v == nil:
		return nil
	case b == nil:
		at := where.member(cacheControl)
		return chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': %s takes it on content that is not empty. Leave it out.", at, name)
	case b.CacheControl != nil:
		at := where.member(cacheControl)
		return chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': it says the same as the one on what it holds. Keep one of the two.", at)
	}
	b.CacheControl = v
	return nil
}

// last returns the block that a mark on all of them stands for, or nil.
func last(blocks []block) *block {
	if len(blocks) == 0 {
		return nil
	}
	return &blocks[len(blocks)-1]
}
