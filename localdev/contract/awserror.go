package contract

import (
	"slices"
	"strings"
)

// commonErrors are the errors that any AWS operation may answer without its
// model listing them ("Common Errors" of each service's API reference, and the
// codes that signature verification gives).
var commonErrors = []string{
	"AccessDeniedException", "ExpiredTokenException", "IncompleteSignatureException", "InternalFailure",
	"InvalidSignatureException", "MalformedHttpRequestException", "MissingAuthenticationTokenException",
	"NotAuthorized", "OptInRequired", "RequestAbortedException", "RequestEntityTooLargeException",
	"RequestExpired", "RequestTimeoutException", "SerializationException", "ServiceUnavailable",
	"ThrottlingException", "UnknownOperationException", "UnrecognizedClientException", "ValidationError",
	"ValidationException",
}

// errorResponse checks an error: it must name an error of the operation, with
// the status and members of that error's shape.
func (c awsCall) errorResponse(at spot, in Response) {
	body, ok := decodeAt(at, in.Body)
	if !ok {
		return
	}
	object, ok := body.(map[string]any)
	if !ok {
		at.reportType("object", body)
		return
	}
	name := in.Header.Get("X-Amzn-Errortype")
	if name == "" {
		name, _ = object["__type"].(string)
	}
	if name == "" {
		at.report("names no error: X-Amzn-Errortype or __type is required")
		return
	}
	name, _, _ = strings.Cut(name, ":")              // a URI may follow the code
	name = name[strings.LastIndexByte(name, '#')+1:] // a namespace may precede it

	isThis := func(ref awsRef) bool { return ref.Shape == name || c.Shapes[ref.Shape].Error.Code == name }
	i := slices.IndexFunc(c.Errors, isThis)
	if i < 0 {
		if !slices.Contains(commonErrors, name) {
			at.report("names the error %q, which %s does not have", name, c.Name)
		}
		return
	}
	shape := c.Shapes[c.Errors[i].Shape]
	want := shape.Error.Status
	if want == 0 {
		want = 400
	}
	if in.Status != want {
		at.report("has status %d, %s has %d", in.Status, name, want)
	}
	delete(object, "__type")
	if message, ok := object["Message"]; ok && shape.Members["Message"].Shape == "" {
		delete(object, "Message") // services write the one member in either case
		object["message"] = message
	}
	c.structure(at, shape, object)
}
