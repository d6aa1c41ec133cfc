// Package dynamodb keeps a ledger in one table of Amazon DynamoDB.
//
// The table's partition key is pk, of type string, and it has no sort key. Its attribute for the time to live is expires. Reads are strongly
// consistent, and every write has a condition on the attribute revision, which is what its last writer drew at random.
//
// Three operations of the AWS JSON protocol are spoken directly: the SDK's client for them would add 0.8 MB to a function and 0.7 ms and 0.7 MB
// of memory to each of its cold starts.
//
// The package must not know what a record says, nor where the credentials that it signs with come from.
package dynamodb

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/postern-ai/postern/shared/ledger"
	"github.com/postern-ai/postern/shared/secrets"
)

// Options says how to reach the table.
type Options struct {
	// Table is the name or the ARN of the table.
	Table string
	// Region is where the table is.
	Region string
	// Credentials sign the requests. When it also has a method Invalidate() it is told that AWS did not accept what it gave, and the
	// request is made once more. They need dynamodb:GetItem, dynamodb:PutItem and dynamodb:DeleteItem on the table.
	Credentials aws.CredentialsProvider
	// Endpoint replaces the region's own endpoint. It is where AWS_ENDPOINT_URL_DYNAMODB belongs.
	Endpoint string
	// Transport sends the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout bounds one request. Zero means 3 s.
	Timeout time.Duration
}

var (
	// tableForm is from https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html.
	tableForm  = regexp.MustCompile(`^([a-zA-Z0-9_.-]{3,255}|arn:aws[a-z-]*:dynamodb:[a-z0-9-]+:[0-9]{12}:table/[a-zA-Z0-9_.-]{3,255})$`)
	regionForm = regexp.MustCompile(`^[a-z]{2,5}(-[a-z]+)+-[0-9]+$`)
)

// New returns a ledger. It makes no network call.
func New(options Options) (*ledger.Book, error) {
	switch {
	case options.Credentials == nil:
		return nil, errors.New("a ledger in DynamoDB needs credentials")
	case !regionForm.MatchString(options.Region):
		return nil, errors.New("a ledger in DynamoDB needs a region: set AWS_REGION")
	case !tableForm.MatchString(options.Table):
		return nil, errors.New("a ledger in DynamoDB needs the name or the ARN of its table")
	}
	endpoint := "https://dynamodb." + options.Region + "." + domain(options.Region)
	if options.Endpoint != "" {
		parsed, err := secrets.Endpoint(options.Endpoint)
		if err != nil {
			return nil, err
		}
		endpoint = parsed.String()
	}
	s := &store{table: options.Table, url: endpoint + "/", remote: ledger.Remote{
		HTTP:       secrets.Bounded(options.Transport),
		Authorizer: &signer{credentials: options.Credentials, region: options.Region, v4: v4.NewSigner()},
		Rejects:    notAccepted,
	}}
	return &ledger.Book{Store: s, Timeout: options.Timeout}, nil
}

// domain is that of the region's partition (https://docs.aws.amazon.com/general/latest/gr/ddb.html). Those that are cut off from the
// internet need an endpoint in the options.
func domain(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "amazonaws.com.cn"
	case strings.HasPrefix(region, "eusc-"):
		return "amazonaws.eu"
	}
	return "amazonaws.com"
}

type store struct {
	table  string
	url    string
	remote ledger.Remote
}

// value is an attribute. Exactly one member is set.
type value struct {
	S *string `json:"S,omitzero"`
	N *string `json:"N,omitzero"`
	B *[]byte `json:"B,omitzero"`
}

func text(s string) value { return value{S: &s} }

type attributes map[string]value

// The attributes of an item.
const (
	partition = "pk"
	revision  = "revision"
	data      = "data"
	expires   = "expires"
)

func key(k string) attributes { return attributes{partition: text(k)} }

// condition is the part of a request that says when it is to take effect.
type condition struct {
	Expression string            `json:"ConditionExpression"`
	Names      map[string]string `json:"ExpressionAttributeNames"`
	Values     attributes        `json:"ExpressionAttributeValues,omitzero"`
}

func ifRevision(seen string) condition {
	if seen == "" {
		return condition{Expression: "attribute_not_exists(#k)", Names: map[string]string{"#k": partition}}
	}
	return condition{Expression: "#r = :seen", Names: map[string]string{"#r": revision}, Values: attributes{":seen": text(seen)}}
}

// Read implements [ledger.Store].
func (s *store) Read(ctx context.Context, k string) (ledger.Entry, error) {
	in := struct {
		TableName      string
		Key            attributes
		ConsistentRead bool
	}{s.table, key(k), true}
	out, err := s.call(ctx, operation{name: "GetItem", key: k}, in)
	if err != nil {
		return ledger.Entry{}, err
	}
	if out["Item"] == nil {
		return ledger.Entry{}, &ledger.Error{Key: k, Reason: "there is no such record", Err: ledger.ErrNotFound}
	}
	entry, ok := decode(out["Item"])
	if !ok {
		return ledger.Entry{}, &ledger.Error{Key: k, Reason: "the table's item is not a record of this ledger"}
	}
	return entry, nil
}

func decode(item attributes) (ledger.Entry, bool) {
	seen, content, end := item[revision].S, item[data].B, item[expires]
	if seen == nil || *seen == "" || content == nil || len(*content) > ledger.MaxData {
		return ledger.Entry{}, false
	}
	entry := ledger.Entry{Data: *content, Writer: *seen, Revision: *seen}
	if end == (value{}) {
		return entry, true
	}
	if end.N == nil {
		return ledger.Entry{}, false
	}
	seconds, err := strconv.ParseInt(*end.N, 10, 64)
	if err != nil || seconds < 1 {
		return ledger.Entry{}, false
	}
	entry.Expires = time.Unix(seconds, 0).UTC()
	return entry, true
}

// Write implements [ledger.Store]. The revision of an item is the mark of who wrote it.
func (s *store) Write(ctx context.Context, k string, entry ledger.Entry) (string, error) {
	item := key(k)
	item[revision], item[data] = text(entry.Writer), value{B: &entry.Data}
	if !entry.Expires.IsZero() {
		seconds := strconv.FormatInt(entry.Expires.Unix(), 10)
		item[expires] = value{N: &seconds}
	}
	in := struct {
		TableName string
		Item      attributes
		condition `json:",inline"`
	}{s.table, item, ifRevision(entry.Revision)}
	if _, err := s.call(ctx, operation{name: "PutItem", key: k}, in); err != nil {
		return "", err
	}
	return entry.Writer, nil
}

// Remove implements [ledger.Store].
func (s *store) Remove(ctx context.Context, k string, entry ledger.Entry) error {
	in := struct {
		TableName string
		Key       attributes
		condition `json:",inline"`
	}{s.table, key(k), ifRevision(entry.Revision)}
	_, err := s.call(ctx, operation{name: "DeleteItem", key: k}, in)
	return err
}
