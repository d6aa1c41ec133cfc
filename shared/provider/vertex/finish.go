package vertex

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"

	"github.com/postern-ai/postern/shared/chat"
)

// finishOf maps why a candidate ended. Reasons that leave no usable answer are
// errors, and so is one that this table does not know: to call such an answer
// complete could be a lie.
func finishOf(reason string, called bool) (string, error) {
	switch reason {
	case "STOP":
		// Gemini says the same whether it has called a function or not.
		if called {
			return chat.FinishToolCalls, nil
		}
		return chat.FinishStop, nil
	case "MAX_TOKENS", "CONTINUATION":
		return chat.FinishLength, nil
	case "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR",
		"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "IMAGE_OTHER":
		return chat.FinishContentFilter, nil
	case "":
		return "", errors.New("a candidate has no finish reason")
	case "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS":
		return "", unusable(reason, "the model's function call was not valid. Try again, or simplify the declarations of the functions.")
	case "MALFORMED_RESPONSE", "NO_IMAGE", "OTHER", "LANGUAGE", "FINISH_REASON_UNSPECIFIED":
		return "", unusable(reason, "the model's answer was not usable. Try again.")
	}
	return "", unusable(reason, "the answer ended for a reason that the gateway does not know.")
}

func unusable(reason, why string) *chat.Error {
	if reason = constant(reason); reason == "" {
		reason = "unreadable"
	}
	return &chat.Error{
		Status: http.StatusBadGateway, Type: chat.TypeServer, Code: chat.CodeUpstreamError,
		Message: fmt.Sprintf("%s gave no answer (finish reason %s): %s", name, reason, why),
	}
}

func foreignPart() *chat.Error {
	return &chat.Error{
		Status: http.StatusBadGateway, Type: chat.TypeServer, Code: chat.CodeUpstreamInvalid,
		Message: name + " answered with an image, a file or code that it ran, which a chat completion cannot carry. Choose a model that answers with text.",
	}
}

// callID makes an id for a call that has none, as those of models before Gemini
// 3. It has to be unique within the conversation and, since the conversation may
// go on at an upstream that speaks OpenAI's wire, no longer than 40 bytes.
func callID(responseID string, candidate int64, n int) string {
	if responseID == "" || len(responseID) > 28 {
		return "call_" + rand.Text()
	}
	return fmt.Sprintf("call_%s_%d", responseID, candidate*1000+int64(n))
}
