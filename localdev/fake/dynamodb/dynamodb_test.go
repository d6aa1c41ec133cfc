package dynamodb_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	client "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/awsauth"
	"github.com/postern-ai/postern/localdev/fake/dynamodb"
)

const secret = "a secret access key"

func keys(id string) (awsauth.Key, bool) {
	return awsauth.Key{AccessKeyID: "AKIATEST", SecretAccessKey: secret, ARN: "arn:aws:iam::123456789012:user/u"}, id == "AKIATEST"
}

// inside hands the official client's requests to the stand-in, and holds its replies against the service's model.
func inside(t *testing.T, server http.Handler) http.RoundTripper {
	t.Helper()
	if dir, ok := contract.Dir(); ok {
		description, err := contract.AWS(dir, "dynamodb")
		if err != nil {
			t.Fatal(err)
		}
		server = contract.Check(description, server, func(problems ...contract.Problem) {
			for _, problem := range problems {
				if !problem.OfRequest() {
					t.Error(problem)
				}
			}
		})
	} else {
		t.Log("the vendors' descriptions are not here, so the traffic is not checked against them")
	}
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.URL.Path, r.RequestURI = "/", "/"
		if r.Host == "" {
			r.Host = r.URL.Host
		}
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, r)
		return recorder.Result(), nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func open(t *testing.T, options dynamodb.Options) (*dynamodb.Server, *client.Client) {
	t.Helper()
	options.Keys, options.Tables = keys, []dynamodb.Table{{Name: "table", TTL: "end"}}
	server := dynamodb.New(options)
	return server, client.New(client.Options{
		Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("AKIATEST", secret, ""),
		HTTPClient: &http.Client{Transport: inside(t, server)}, RetryMaxAttempts: 1,
	})
}

func s(text string) types.AttributeValue { return &types.AttributeValueMemberS{Value: text} }
func n(text string) types.AttributeValue { return &types.AttributeValueMemberN{Value: text} }

type values = map[string]types.AttributeValue

func code(err error) string {
	if err == nil {
		return ""
	}
	if told, ok := errors.AsType[smithy.APIError](err); ok {
		return told.ErrorCode() + ": " + told.ErrorMessage()
	}
	return err.Error()
}

func TestConditionsAreEvaluated(t *testing.T) {
	t.Parallel()
	there := values{"pk": s("k"), "rev": s("1"), "n": n("10"), "bin": &types.AttributeValueMemberB{Value: []byte{1}}}
	const failed, syntax = "ConditionalCheckFailedException: The conditional request failed", "ValidationException: Invalid ConditionExpression: "
	for _, test := range []struct {
		name, condition string
		names           map[string]string
		values          values
		want            string
	}{
		{name: "an attribute that is there", condition: "attribute_exists(rev)"},
		{name: "an attribute that is not there", condition: "attribute_not_exists(rev)", want: failed},
		{name: "the value", condition: "rev = :v", values: values{":v": s("1")}},
		{name: "another value", condition: "rev = :v", values: values{":v": s("2")}, want: failed},
		{name: "another type", condition: "rev = :v", values: values{":v": n("1")}, want: failed},
		{name: "another type is unequal", condition: "rev <> :v", values: values{":v": n("1")}},
		{name: "numbers as numbers", condition: "n > :v", values: values{":v": n("9")}},
		{name: "a missing attribute is not less", condition: "nothing < :v", values: values{":v": n("9")}, want: failed},
		{name: "bytes", condition: "bin <= :v", values: values{":v": &types.AttributeValueMemberB{Value: []byte{2}}}},
		{name: "a prefix", condition: "begins_with(rev, :v)", values: values{":v": s("1")}},
		{name: "one of two", condition: "attribute_not_exists(#k) OR (rev = :v and NOT n = :n)", names: map[string]string{"#k": "pk"}, values: values{":v": s("1"), ":n": n("11")}},
		{name: "both of two", condition: "attribute_exists(pk) AND rev = :v", values: values{":v": s("2")}, want: failed},
		{name: "nothing", condition: " ", want: syntax + "The expression can not be empty;"},
		{name: "a word too many", condition: "attribute_exists(rev) rev", want: syntax + `Syntax error; token: "rev"`},
		{name: "half a comparison", condition: "rev =", want: syntax + `Syntax error; token: ""`},
		{name: "an open parenthesis", condition: "(attribute_exists(rev)", want: syntax + "Syntax error; a parenthesis is not closed"},
		{name: "a strange mark", condition: "rev ~ :v", values: values{":v": s("1")}, want: syntax + `Syntax error; token: "~"`},
		{name: "an unknown function", condition: "attribute_is(rev)", want: syntax + "Invalid function name; function: attribute_is"},
		{name: "a reserved word", condition: "data = :v", values: values{":v": s("1")}, want: syntax + "Attribute name is a reserved keyword; reserved keyword: data"},
		{name: "an undefined value", condition: "rev = :v", want: syntax + "An expression attribute value used in expression is not defined; attribute value: :v"},
		{name: "an undefined name", condition: "attribute_exists(#a)", want: syntax + "An expression attribute name used in the document path is not defined; attribute name: #a"},
		{name: "an unused value", condition: "attribute_exists(rev)", values: values{":v": s("1")}, want: "ValidationException: Value provided in ExpressionAttributeValues unused in expressions: keys: {:v}"},
		{name: "an unused name", condition: "attribute_exists(rev)", names: map[string]string{"#a": "b"}, want: "ValidationException: Value provided in ExpressionAttributeNames unused in expressions: keys: {#a}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, official := open(t, dynamodb.Options{})
			table := aws.String("table")
			if _, err := official.PutItem(t.Context(), &client.PutItemInput{TableName: table, Item: there}); err != nil {
				t.Fatal(err)
			}
			_, err := official.PutItem(t.Context(), &client.PutItemInput{TableName: table, Item: values{"pk": s("k"), "rev": s("2")}, ConditionExpression: &test.condition,
				ExpressionAttributeNames: test.names, ExpressionAttributeValues: test.values, ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld})
			if got := code(err); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if refused, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok && len(refused.Item) != 4 {
				t.Errorf("the error brings %v", refused.Item)
			}
			got, err := official.GetItem(t.Context(), &client.GetItemInput{TableName: table, Key: values{"pk": s("k")}, ConsistentRead: aws.Bool(true)})
			if err != nil || (len(got.Item) == 2) != (test.want == "") {
				t.Errorf("the item is %v, error %v", got.Item, err)
			}
		})
	}
}

func TestWhatTheServiceRefusesIsRefused(t *testing.T) {
	t.Parallel()
	_, official := open(t, dynamodb.Options{})
	put := func(table string, item values) error {
		_, err := official.PutItem(t.Context(), &client.PutItemInput{TableName: &table, Item: item})
		return err
	}
	get := func(key values) error {
		_, err := official.GetItem(t.Context(), &client.GetItemInput{TableName: aws.String("table"), Key: key})
		return err
	}
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"an unknown table", put("none", values{"pk": s("k")}), "ResourceNotFoundException: Requested resource not found"},
		{"no key", put("table", values{"a": s("k")}), "Missing the key pk in the item"},
		{"an empty key", put("table", values{"pk": s("")}), "empty string value. Key: pk"},
		{"a key of another type", put("table", values{"pk": n("1")}), "Type mismatch for key pk"},
		{"a long key", put("table", values{"pk": s(strings.Repeat("k", 2049))}), "2048 bytes"},
		{"no number", put("table", values{"pk": s("k"), "n": n("x")}), "cannot be converted to a numeric value: x"},
		{"too much", put("table", values{"pk": s("k"), "a": s(strings.Repeat("x", 400<<10))}), "Item size has exceeded the maximum allowed size"},
		{"more than the key", get(values{"pk": s("k"), "a": s("x")}), "does not match the schema"},
		{"another key", get(values{"a": s("x")}), "does not match the schema"},
	} {
		if got := code(test.err); !strings.Contains(got, test.want) {
			t.Errorf("%s: got %s", test.name, got)
		}
	}
}

func TestAReadSeesTheLastWriteIfItAsks(t *testing.T) {
	t.Parallel()
	_, official := open(t, dynamodb.Options{})
	table, key := aws.String("table"), values{"pk": s("k")}
	read := func(consistent bool) bool {
		t.Helper()
		got, err := official.GetItem(t.Context(), &client.GetItemInput{TableName: table, Key: key, ConsistentRead: &consistent})
		if err != nil {
			t.Fatal(err)
		}
		return got.Item != nil
	}
	for _, consistent := range []bool{true, false} {
		if _, err := official.PutItem(t.Context(), &client.PutItemInput{TableName: table, Item: key}); err != nil {
			t.Fatal(err)
		}
		if got := read(consistent); got != consistent {
			t.Errorf("consistent %v: after the write it is there: %v", consistent, got)
		}
		out, err := official.DeleteItem(t.Context(), &client.DeleteItemInput{TableName: table, Key: key, ReturnValues: types.ReturnValueAllOld})
		if err != nil || len(out.Attributes) != 1 {
			t.Fatalf("deleted %v, error %v", out, err)
		}
		if got := read(consistent); got == consistent {
			t.Errorf("consistent %v: after the deletion it is there: %v", consistent, got)
		}
		if read(false) {
			t.Error("it never goes away")
		}
	}
}

func TestTheTimeToLiveEndsLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, official := open(t, dynamodb.Options{})
		for key, end := range map[string]types.AttributeValue{"gone": n("946684801"), "text": s("946684801"), "later": n("4000000000"), "never": nil} {
			item := values{"pk": s(key)}
			if end != nil {
				item["end"] = end
			}
			if _, err := official.PutItem(t.Context(), &client.PutItemInput{TableName: aws.String("table"), Item: item}); err != nil {
				t.Fatal(err)
			}
		}
		there := func(key string) bool {
			got, err := official.GetItem(t.Context(), &client.GetItemInput{TableName: aws.String("table"), Key: values{"pk": s(key)}, ConsistentRead: aws.Bool(true)})
			return err == nil && got.Item != nil
		}
		time.Sleep(time.Minute)
		if !there("gone") {
			t.Error("it ends at once")
		}
		server.Sweep()
		if there("gone") || !there("text") || !there("later") || !there("never") {
			t.Error("the wrong items have ended")
		}
	})
}

func TestOnlyWhoMaySeesAnything(t *testing.T) {
	t.Parallel()
	server, _ := open(t, dynamodb.Options{Allow: func(a dynamodb.Access) bool { return a.Action == "dynamodb:GetItem" }})
	call := func(change func(*client.Options)) *client.Client {
		options := client.Options{Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("AKIATEST", secret, ""),
			HTTPClient: &http.Client{Transport: inside(t, server)}, RetryMaxAttempts: 1}
		change(&options)
		return client.New(options)
	}
	in := &client.DeleteItemInput{TableName: aws.String("none"), Key: values{"pk": s("k")}}
	for name, test := range map[string]struct {
		change func(*client.Options)
		want   string
	}{
		"no right":       {func(*client.Options) {}, "AccessDeniedException: User: arn:aws:iam::123456789012:user/u is not authorized to perform: dynamodb:DeleteItem"},
		"a wrong secret": {func(o *client.Options) { o.Credentials = credentials.NewStaticCredentialsProvider("AKIATEST", "x", "") }, "InvalidSignatureException"},
		"an unknown key": {func(o *client.Options) {
			o.Credentials = credentials.NewStaticCredentialsProvider("AKIAOTHER", "x", "")
		}, "UnrecognizedClientException"},
		"another region": {func(o *client.Options) { o.Region = "us-east-1" }, "InvalidSignatureException"},
	} {
		if _, err := call(test.change).DeleteItem(t.Context(), in); !strings.HasPrefix(code(err), test.want) {
			t.Errorf("%s: got %s", name, code(err))
		}
	}
	out, err := call(func(*client.Options) {}).GetItem(t.Context(), &client.GetItemInput{TableName: aws.String("arn:aws:dynamodb:eu-central-1:123456789012:table/table"), Key: values{"pk": s("k")}})
	if err != nil || out.Item != nil {
		t.Errorf("got %v, error %v", out, err)
	}
}
