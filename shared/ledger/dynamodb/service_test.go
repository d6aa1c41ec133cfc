package dynamodb_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	client "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/ledger/dynamodb"
	"github.com/postern-ai/postern/shared/ledger/ledgertest"
)

// TestTheOfficialClientAgrees has AWS's own client read what the ledger writes, and write what the ledger reads, over a network.
func TestTheOfficialClientAgrees(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	listener := httptest.NewServer(described.Requests(t, w.server))
	t.Cleanup(listener.Close)
	book, err := dynamodb.New(dynamodb.Options{Table: "postern-ledger", Region: region, Credentials: w.issuer, Endpoint: listener.URL, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	official := client.NewFromConfig(aws.Config{Region: region, BaseEndpoint: &listener.URL, Credentials: w.issuer, RetryMaxAttempts: 1})
	end := time.Now().Add(time.Hour)
	saved, err := book.Save(t.Context(), "rotation/a", ledger.Record{Data: []byte("state"), Expires: end})
	if err != nil {
		t.Fatal(err)
	}
	key := map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: "rotation/a"}}
	got, err := official.GetItem(t.Context(), &client.GetItemInput{TableName: aws.String("postern-ledger"), Key: key, ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	data, _ := got.Item["data"].(*types.AttributeValueMemberB)
	seconds, _ := got.Item["expires"].(*types.AttributeValueMemberN)
	if data == nil || string(data.Value) != "state" || seconds == nil || len(seconds.Value) != 10 {
		t.Fatalf("the item is %v", got.Item)
	}
	got.Item["data"], got.Item["revision"] = &types.AttributeValueMemberB{Value: []byte("next")}, &types.AttributeValueMemberS{Value: "by hand"}
	if _, err := official.PutItem(t.Context(), &client.PutItemInput{TableName: aws.String("postern-ledger"), Item: got.Item, ConditionExpression: aws.String("revision = :r"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":r": &types.AttributeValueMemberS{Value: saved.Revision}}}); err != nil {
		t.Fatal(err)
	}
	record, err := book.Load(t.Context(), "rotation/a")
	if err != nil || string(record.Data) != "next" || !record.Expires.Equal(saved.Expires) {
		t.Errorf("loaded %q until %v, error %v", record.Data, record.Expires, err)
	}
	if _, err := book.Save(t.Context(), "rotation/a", saved); !errors.Is(err, ledger.ErrConflict) {
		t.Errorf("got %v", err)
	}
	if err := book.Delete(t.Context(), "rotation/a", record); err != nil {
		t.Error(err)
	}
	if got, err := official.GetItem(t.Context(), &client.GetItemInput{TableName: aws.String("postern-ledger"), Key: key, ConsistentRead: aws.Bool(true)}); err != nil || got.Item != nil {
		t.Errorf("after the deletion: %v, error %v", got, err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	refusal := func(status int, code string) fault.Fault {
		return fault.Fault{Status: status, Body: `{"__type":"com.amazonaws.dynamodb.v20120810#` + code + `","message":"` + ledgertest.Canary + `"}`}
	}
	for _, test := range []struct {
		name  string
		fault fault.Fault
		want  string
	}{
		{"no right", refusal(400, "AccessDeniedException"), "this function's role may not use the table; it needs dynamodb:GetItem on it, and the rights to the table's KMS key if that is one of your own"},
		{"no table", refusal(400, "ResourceNotFoundException"), "DynamoDB has no table of the configured name in this region, or it is not ready yet"},
		{"another table", refusal(400, "ValidationException"), "DynamoDB does not take the request; the table has to have the partition key pk, of type string, and no sort key"},
		{"expired credentials", refusal(400, "ExpiredTokenException"), "AWS does not accept this function's credentials (ExpiredTokenException)"},
		{"unknown credentials", refusal(403, "UnrecognizedClientException"), "AWS does not accept this function's credentials (UnrecognizedClientException)"},
		{"a throttle", refusal(400, "ThrottlingException"), "the store is throttling (ThrottlingException)"},
		{"an internal error", refusal(500, "InternalServerError"), "the store has failed (500)"},
		{"a code that is none", refusal(400, "a b<"+ledgertest.Canary), "the store answers with status 400"},
		{"a proxy's page", fault.Fault{Status: 404, Body: "<html>" + ledgertest.Canary}, "the store answers with status 404"},
		{"a damaged reply", fault.Fault{Status: 200, Body: `{}`, Header: http.Header{"X-Amz-Crc32": {"1"}}}, "the store's reply was damaged on its way: the checksum differs"},
		{"a reply with something else", fault.Fault{Status: 200, Body: `{"error":{}}`}, "the store's reply is not what its API describes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.server.Faults.Before("").Set(test.fault)
				_, err := w.ledger[0].Load(t.Context(), "key")
				if want := `ledger record "key": ` + test.want; err == nil || err.Error() != want {
					t.Errorf("got  %v\nwant %s", err, want)
				}
			})
		})
	}
}

// hosts records where requests go, and sends none.
type hosts struct{ seen []string }

func (h *hosts) RoundTrip(request *http.Request) (*http.Response, error) {
	h.seen = append(h.seen, request.URL.String())
	return &http.Response{StatusCode: http.StatusTeapot, Header: http.Header{}, Body: http.NoBody}, nil
}

func TestTheEndpointFollowsFromTheRegion(t *testing.T) {
	t.Parallel()
	transport := &hosts{}
	for _, region := range []string{"eu-central-1", "us-gov-west-1", "cn-north-1", "eusc-de-east-1"} {
		book, err := dynamodb.New(dynamodb.Options{Table: "arn:aws:dynamodb:eu-central-1:123456789012:table/postern", Region: region, Credentials: &issuer{}, Transport: transport})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := book.Load(t.Context(), "key"); err == nil {
			t.Error("there is a network")
		}
	}
	const want = "https://dynamodb.eu-central-1.amazonaws.com/ https://dynamodb.us-gov-west-1.amazonaws.com/ " +
		"https://dynamodb.cn-north-1.amazonaws.com.cn/ https://dynamodb.eusc-de-east-1.amazonaws.eu/"
	if got := strings.Join(transport.seen, " "); got != want {
		t.Errorf("got %s", got)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	good := dynamodb.Options{Table: "postern", Region: region, Credentials: &issuer{}}
	for _, test := range []struct {
		name   string
		change func(*dynamodb.Options)
		want   string
	}{
		{"no credentials", func(o *dynamodb.Options) { o.Credentials = nil }, "credentials"},
		{"no region", func(o *dynamodb.Options) { o.Region = "" }, "AWS_REGION"},
		{"a region that is a host", func(o *dynamodb.Options) { o.Region = "x.example.com/" }, "AWS_REGION"},
		{"no table", func(o *dynamodb.Options) { o.Table = "" }, "table"},
		{"an endpoint without TLS", func(o *dynamodb.Options) { o.Endpoint = "http://example.com" }, "https://"},
	} {
		options := good
		test.change(&options)
		if _, err := dynamodb.New(options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}

// canned answers every request in one way.
type canned struct {
	status int
	body   string
}

func (c canned) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: c.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(c.body))}, nil
}

func FuzzReply(f *testing.F) {
	f.Add(200, `{"Item":{"pk":{"S":"key"},"revision":{"S":"r"},"data":{"B":"ZGF0YQ=="},"expires":{"N":"4000000000"}}}`)
	f.Add(200, `{}`)
	f.Add(200, `{"Item":null}`)
	f.Add(400, `{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"x"}`)
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 100 || status > 999 {
			return
		}
		book, err := dynamodb.New(dynamodb.Options{Table: "postern", Region: region, Credentials: &issuer{}, Transport: canned{status, body}})
		if err != nil {
			t.Fatal(err)
		}
		entry, err := book.Store.Read(t.Context(), "key")
		var told *ledger.Error
		switch {
		case err == nil && (entry.Revision == "" || entry.Writer != entry.Revision):
			t.Errorf("a reply without a revision is accepted: %q", body)
		case err != nil && (!errors.As(err, &told) || len(body) > 12 && strings.Contains(err.Error(), body)):
			t.Errorf("got %v", err)
		}
	})
}
