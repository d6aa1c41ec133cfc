package contract

import "maps"

// A Departure is a way in which a service differs from the description that it
// otherwise follows. Departures combine.
type Departure uint8

const (
	// Extra allows a property that the description does not list. What is
	// beneath it is not checked.
	Extra Departure = 1 << iota
	// Optional allows a required property to be absent.
	Optional
	// Null allows a property to be null.
	Null
	// Blank allows a string to be empty where a closed set of values is due.
	Blank
)

// A Variant says how a service departs from a description that it follows.
type Variant struct {
	// Base replaces the path in front of the description's own paths. A segment
	// in braces stands for any one segment.
	Base string
	// Query lists query parameters beyond the description's.
	Query []string
	// Departures are keyed by path with the indexes left out, from request,
	// response or event on: response.choices[].content_filter_results.
	Departures map[string]Departure
}

// With returns the description as the variant's service serves it. The
// departures that the description already had stay.
func (d *Description) With(v Variant) *Description {
	merged := maps.Clone(d.variant.Departures)
	if merged == nil {
		merged = map[string]Departure{}
	}
	for path, departure := range v.Departures {
		merged[path] |= departure
	}
	v.Departures = merged
	if v.Base == "" {
		v.Base = d.variant.Base
	}
	return &Description{service: d.service, variant: v}
}

// AzureV1 is how Azure serves OpenAI's description under /openai/v1/: the same
// paths, with content filter annotations that may also arrive alone.
func AzureV1() Variant {
	v := Variant{Base: "/openai/v1", Query: []string{"api-version"}, Departures: map[string]Departure{
		"response.prompt_filter_results":            Extra,
		"response.choices[].content_filter_results": Extra,

		// The first chunk carries the prompt's annotations and no identity, and
		// an asynchronous filter annotates text that was sent before.
		"event.object":                           Blank,
		"event.prompt_filter_results":            Extra,
		"event.prompt_annotations":               Extra,
		"event.choices[].content_filter_results": Extra,
		"event.choices[].content_filter_offsets": Extra,
		"event.choices[].delta":                  Optional,
	}}
	for _, root := range []string{"response", "event"} {
		v.Departures[root+".error.type"] = Null | Optional
		v.Departures[root+".error.param"] = Optional
		v.Departures[root+".error.status"] = Extra
		v.Departures[root+".error.innererror"] = Extra
		v.Departures[root+".error.inner_error"] = Extra
		v.Departures[root+".error.details"] = Extra
	}
	return v
}

// AzureDeployments is how Azure serves the dated paths, where the path names
// the deployment and the body need not name a model.
func AzureDeployments() Variant {
	v := AzureV1()
	v.Base = "/openai/deployments/{deployment}"
	v.Departures["request.model"] = Optional
	return v
}
