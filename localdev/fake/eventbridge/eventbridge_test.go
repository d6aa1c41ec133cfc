package eventbridge_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	client "github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/smithy-go"
	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/postern-ai/postern/localdev/contract/contracttest"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/eventbridge"
	"github.com/postern-ai/postern/localdev/fake/fault"
)

const (
	id     = "AKIATEST"
	secret = "secret"
)

var described = contracttest.AWS("events")

// open returns a stand-in, and AWS's own client of it. What the two say is held against the service's model.
func open(t *testing.T, options eventbridge.Options) (*eventbridge.Server, *client.Client) {
	t.Helper()
	options.Keys = func(key string) (awsauth.Key, bool) {
		return awsauth.Key{AccessKeyID: id, SecretAccessKey: secret, ARN: "arn:aws:iam::123456789012:user/u"}, key == id
	}
	server := eventbridge.New(options)
	listener := httptest.NewServer(described.Traffic(t, server))
	t.Cleanup(listener.Close)
	return server, client.NewFromConfig(aws.Config{Region: "eu-central-1", BaseEndpoint: &listener.URL, RetryMaxAttempts: 1, Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}, nil
	})})
}

func entry(change func(*types.PutEventsRequestEntry)) types.PutEventsRequestEntry {
	e := types.PutEventsRequestEntry{
		EventBusName: aws.String("audit"), Source: aws.String("test"), DetailType: aws.String("T"),
		Detail: aws.String(`{"specversion":"1.0","id":"1","source":"/s","type":"T","time":"2026-03-04T05:06:07Z","data":{}}`),
	}
	if change != nil {
		change(&e)
	}
	return e
}

// put calls PutEvents and returns a short form of the outcome: the code of the error, or for each entry its code or ok.
func put(t *testing.T, c *client.Client, entries ...types.PutEventsRequestEntry) string {
	t.Helper()
	out, err := c.PutEvents(t.Context(), &client.PutEventsInput{Entries: entries})
	if err != nil {
		told, ok := errors.AsType[smithy.APIError](err)
		if !ok {
			t.Fatal(err)
		}
		return told.ErrorCode()
	}
	var outcomes []string
	failed := int32(0)
	for _, result := range out.Entries {
		if result.ErrorCode != nil {
			failed++
			outcomes = append(outcomes, *result.ErrorCode)
			continue
		}
		if result.EventId == nil || len(*result.EventId) != 36 {
			t.Errorf("an accepted entry has the id %v", result.EventId)
		}
		outcomes = append(outcomes, "ok")
	}
	if out.FailedEntryCount != failed {
		t.Errorf("%d entries failed, of %d", failed, out.FailedEntryCount)
	}
	return strings.Join(outcomes, " ")
}

func TestWhatIsAcceptedIsThere(t *testing.T) {
	t.Parallel()
	server, c := open(t, eventbridge.Options{Buses: []string{"audit"}})
	at := time.Date(2026, 3, 4, 5, 6, 7, 89_000_000, time.UTC)
	plain := entry(func(e *types.PutEventsRequestEntry) { e.Detail = aws.String(`{"no":"event"}`) })
	if got := put(t, c, entry(func(e *types.PutEventsRequestEntry) {
		e.Time, e.Resources, e.EventBusName = &at, []string{"arn:aws:x"}, aws.String("arn:aws:events:eu-central-1:123456789012:event-bus/audit")
	}), plain, entry(func(e *types.PutEventsRequestEntry) { e.EventBusName = nil })); got != "ok ok ok" {
		t.Errorf("got %s", got)
	}
	entries := server.Entries()
	want := eventbridge.Entry{Bus: "audit", Source: "test", DetailType: "T", Detail: []byte(*entry(nil).Detail), Resources: []string{"arn:aws:x"}, Time: at}
	if diff := cmp.Diff(want, entries[0]); diff != "" || len(entries) != 3 {
		t.Errorf("%d entries (-want +got):\n%s", len(entries), diff)
	}
	if time.Since(entries[1].Time).Abs() > time.Minute || entries[2].Bus != "default" {
		t.Errorf("got %+v", entries[1:])
	}
	if events := server.Events(); len(events) != 2 || events[0].ID != "1" {
		t.Errorf("got %+v", events)
	}
}

func TestABusThatDoesNotExistTakesEventsAndLosesThem(t *testing.T) {
	t.Parallel()
	server, c := open(t, eventbridge.Options{})
	if got := put(t, c, entry(nil)); got != "ok" || server.Lost() != 1 || len(server.Entries()) != 0 {
		t.Errorf("got %s, and %d lost", got, server.Lost())
	}
}

func TestEntriesFailByThemselves(t *testing.T) {
	t.Parallel()
	server, c := open(t, eventbridge.Options{Buses: []string{"audit"}})
	for _, test := range []struct {
		name, want string
		change     func(*types.PutEventsRequestEntry)
	}{
		{"no source", "InvalidArgument", func(e *types.PutEventsRequestEntry) { e.Source = nil }},
		{"no type", "InvalidArgument", func(e *types.PutEventsRequestEntry) { e.DetailType = nil }},
		{"a long type", "InvalidArgument", func(e *types.PutEventsRequestEntry) { e.DetailType = aws.String(strings.Repeat("x", 129)) }},
		{"no detail", "InvalidArgument", func(e *types.PutEventsRequestEntry) { e.Detail = nil }},
		{"a detail that is a list", "MalformedDetail", func(e *types.PutEventsRequestEntry) { e.Detail = aws.String("[]") }},
		{"a detail that is cut off", "MalformedDetail", func(e *types.PutEventsRequestEntry) { e.Detail = aws.String(`{"a"`) }},
		{"a source of AWS", "NotAuthorizedForSourceException", func(e *types.PutEventsRequestEntry) { e.Source = aws.String("aws.s3") }},
	} {
		if got := put(t, c, entry(nil), entry(test.change)); got != "ok "+test.want {
			t.Errorf("%s: got %s", test.name, got)
		}
	}
	if got := len(server.Entries()); got != 7 {
		t.Errorf("%d entries", got)
	}
}

func TestCallsFailAsAWhole(t *testing.T) {
	t.Parallel()
	server, c := open(t, eventbridge.Options{Buses: []string{"audit"}})
	many := func(n int, change func(*types.PutEventsRequestEntry)) []types.PutEventsRequestEntry {
		return slices.Repeat([]types.PutEventsRequestEntry{entry(change)}, n)
	}
	sized := func(size int) func(*types.PutEventsRequestEntry) {
		return func(e *types.PutEventsRequestEntry) {
			e.Detail = aws.String(`{"x":"` + strings.Repeat("x", size-len(`{"x":""}`)-len("test")-len("T")) + `"}`)
		}
	}
	for _, test := range []struct {
		name, want string
		entries    []types.PutEventsRequestEntry
	}{
		{"entries of which none is complete", "ValidationException", many(2, func(e *types.PutEventsRequestEntry) { e.Detail = nil })},
		{"too large an entry", "ValidationException", many(1, sized(256<<10))},
		{"entries that are too large together", "ValidationException", many(4, sized(64<<10))},
		{"as large as can be", "ok", many(1, sized(256<<10-1))},
		{"with a time that makes it too large", "ValidationException", many(1, func(e *types.PutEventsRequestEntry) { sized(256<<10 - 14)(e); e.Time = aws.Time(time.Now()) })},
		{"with resources that make it too large", "ValidationException", many(1, func(e *types.PutEventsRequestEntry) { sized(256<<10 - 1)(e); e.Resources = []string{"x"} })},
	} {
		if got := put(t, c, test.entries...); got != test.want {
			t.Errorf("%s: got %s", test.name, got)
		}
	}
	if got := len(server.Entries()); got != 1 {
		t.Errorf("%d entries", got)
	}
}

// TestWhatNoClientSends looks at what the official client would not let out.
func TestWhatNoClientSends(t *testing.T) {
	t.Parallel()
	server := eventbridge.New(eventbridge.Options{Keys: func(string) (awsauth.Key, bool) { return awsauth.Key{}, false }})
	recorder := httptest.NewRecorder()
	request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"Entries":[]}`))
	request.Header.Set("X-Amz-Target", "AWSEvents.PutEvents")
	server.ServeHTTP(recorder, request)
	if recorder.Code != http.StatusBadRequest || !strings.Contains(recorder.Body.String(), "MissingAuthenticationTokenException") {
		t.Errorf("without a signature: %d %s", recorder.Code, recorder.Body)
	}
	for _, test := range []struct {
		name, want, body string
		change           func(*http.Request)
	}{
		{"no entries", "ValidationException", `{"Entries":[]}`, nil},
		{"eleven entries", "ValidationException", `{"Entries":[` + strings.Repeat(`{"Source":"s","DetailType":"T","Detail":"{}"},`, 10) + `{"Source":"s","DetailType":"T","Detail":"{}"}]}`, nil},
		{"a bus with a slash", "ValidationException", `{"Entries":[{"EventBusName":"a/b"}]}`, nil},
		{"a time that is a text", "SerializationException", `{"Entries":[{"Source":"s","DetailType":"T","Detail":"{}","Time":"2026-03-04T05:06:07Z"}]}`, nil},
		{"a detail that is no text", "SerializationException", `{"Entries":[{"Detail":{}}]}`, nil},
		{"a global endpoint", "ValidationException", `{"EndpointId":"a.b","Entries":[{}]}`, nil},
		{"another operation", "UnknownOperationException", `{}`, func(r *http.Request) { r.Header.Set("X-Amz-Target", "AWSEvents.PutRule") }},
		{"another content type", "SerializationException", `{}`, func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }},
	} {
		if got := raw(t, test.body, test.change); got != test.want {
			t.Errorf("%s: got %s", test.name, got)
		}
	}
}

func TestRightsAreNeeded(t *testing.T) {
	t.Parallel()
	var asked []eventbridge.Access
	server, c := open(t, eventbridge.Options{Buses: []string{"audit"}, Allow: func(access eventbridge.Access) bool {
		asked = append(asked, access)
		return strings.HasSuffix(access.Resource, "/audit")
	}})
	if got := put(t, c, entry(nil), entry(func(e *types.PutEventsRequestEntry) { e.EventBusName = aws.String("other") })); got != "AccessDeniedException" || len(server.Entries()) != 0 {
		t.Errorf("got %s", got)
	}
	if len(asked) != 2 || asked[1].Action != "events:PutEvents" || asked[1].Resource != "arn:aws:events:eu-central-1:123456789012:event-bus/other" || asked[1].Key.AccessKeyID != id {
		t.Errorf("asked for %+v", asked)
	}
}

func TestFaultsAreAsPlanned(t *testing.T) {
	t.Parallel()
	server, c := open(t, eventbridge.Options{Buses: []string{"audit"}})
	server.Refuse(&eventbridge.Refusal{Code: "ThrottlingException", Every: 2, Calls: 1})
	for _, want := range []string{"ThrottlingException ok ThrottlingException", "ok ok ok"} {
		if got := put(t, c, entry(nil), entry(nil), entry(nil)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	server.Refuse(&eventbridge.Refusal{Code: "InternalFailure"})
	for range 2 {
		if got := put(t, c, entry(nil)); got != "InternalFailure" {
			t.Errorf("got %s", got)
		}
	}
	server.Refuse(nil)
	server.Faults.After("PutEvents").Set(fault.Fault{Status: 400, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}}, Body: `{"__type":"ThrottlingException"}`, Times: 1})
	if got := put(t, c, entry(nil)); got != "ThrottlingException" || len(server.Entries()) != 5 {
		t.Errorf("got %s, and %d entries", got, len(server.Entries()))
	}
}

// raw sends a signed body as it is, and returns the code of the error.
func raw(t *testing.T, body string, change func(*http.Request)) string {
	t.Helper()
	server := eventbridge.New(eventbridge.Options{Keys: func(string) (awsauth.Key, bool) { return awsauth.Key{AccessKeyID: id, SecretAccessKey: secret}, true }})
	request := httptest.NewRequest(http.MethodPost, "https://events.eu-central-1.amazonaws.com/", strings.NewReader(body))
	request.Header.Set("X-Amz-Target", "AWSEvents.PutEvents")
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	if change != nil {
		change(request)
	}
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}, request, hex.EncodeToString(sum[:]), "events", "eu-central-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, request)
	var out struct {
		Type string `json:"__type"`
	}
	if err := json.Unmarshal(recorder.Body.Bytes(), &out); err != nil || recorder.Code != http.StatusBadRequest {
		t.Fatalf("got %d %s", recorder.Code, recorder.Body)
	}
	return out.Type
}
