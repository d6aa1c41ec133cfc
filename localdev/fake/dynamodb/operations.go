package dynamodb

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// legacy are parameters from before expressions. Nothing new should use them
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/LegacyConditionalParameters.html), so they are not part of this stand-in.
type legacy struct {
	Expected            jsontext.Value
	ConditionalOperator string
	AttributesToGet     jsontext.Value
}

func (l legacy) check() error {
	if l.Expected != nil || l.ConditionalOperator != "" || l.AttributesToGet != nil {
		return invalid("the legacy parameters are not part of this stand-in; use an expression")
	}
	return nil
}

// writing are the parameters that both writes have.
type writing struct {
	TableName                           string
	ConditionExpression                 *string
	ExpressionAttributeNames            map[string]string
	ExpressionAttributeValues           item
	ReturnValues                        string
	ReturnValuesOnConditionCheckFailure string
	ReturnConsumedCapacity              string
	ReturnItemCollectionMetrics         string
}

func (in writing) check() error {
	switch {
	case !slices.Contains([]string{"", "NONE", "ALL_OLD"}, in.ReturnValues):
		return invalid("Return values set to invalid value")
	case !slices.Contains([]string{"", "NONE", "ALL_OLD"}, in.ReturnValuesOnConditionCheckFailure):
		return invalid("ReturnValuesOnConditionCheckFailure set to invalid value")
	case in.ConditionExpression == nil && (in.ExpressionAttributeNames != nil || in.ExpressionAttributeValues != nil):
		return invalid("ExpressionAttributeNames and ExpressionAttributeValues can only be specified when using expressions")
	}
	return nil
}

// may evaluates the condition on the item that is there.
func (in writing) may(old item) error {
	if in.ConditionExpression == nil {
		return nil
	}
	for _, a := range in.ExpressionAttributeValues {
		if err := a.check(); err != nil {
			return err
		}
	}
	met, err := evaluate(condition{text: *in.ConditionExpression, names: in.ExpressionAttributeNames, values: in.ExpressionAttributeValues}, old)
	if err != nil || met {
		return err
	}
	failed := &problem{Type: errorPrefix + "ConditionalCheckFailedException", Lower: "The conditional request failed"}
	if in.ReturnValuesOnConditionCheckFailure == "ALL_OLD" {
		failed.Item = old
	}
	return failed
}

// written is the reply to a write.
func (in writing) written(old item) any {
	reply := struct {
		Attributes item `json:",omitempty"`
	}{}
	if in.ReturnValues == "ALL_OLD" {
		reply.Attributes = old
	}
	return reply
}

func (c *call) putItem() (any, error) {
	var in struct {
		writing
		legacy
		Item item
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	t, err := c.table(in.TableName)
	if err != nil {
		return nil, err
	}
	if err := in.legacy.check(); err != nil {
		return nil, err
	}
	if err := in.writing.check(); err != nil {
		return nil, err
	}
	if err := in.Item.check(); err != nil {
		return nil, err
	}
	key, err := t.key(in.Item)
	if err != nil {
		return nil, err
	}
	old := t.now(key)
	if err := in.may(old); err != nil {
		return nil, err
	}
	t.items[key] = &row{now: in.Item, before: old}
	return in.written(old), nil
}

func (c *call) deleteItem() (any, error) {
	var in struct {
		writing
		legacy
		Key item
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	t, err := c.table(in.TableName)
	if err != nil {
		return nil, err
	}
	if err := in.legacy.check(); err != nil {
		return nil, err
	}
	if err := in.writing.check(); err != nil {
		return nil, err
	}
	key, err := t.only(in.Key)
	if err != nil {
		return nil, err
	}
	old := t.now(key)
	if err := in.may(old); err != nil {
		return nil, err
	}
	if old != nil {
		t.items[key] = &row{before: old}
	}
	return in.written(old), nil
}

func (t *table) now(key string) item {
	if r := t.items[key]; r != nil {
		return r.now
	}
	return nil
}

func (c *call) getItem() (any, error) {
	var in struct {
		legacy
		TableName            string
		Key                  item
		ConsistentRead       bool
		ProjectionExpression *string
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	t, err := c.table(in.TableName)
	if err != nil {
		return nil, err
	}
	if err := in.legacy.check(); err != nil {
		return nil, err
	}
	if in.ProjectionExpression != nil {
		return nil, invalid("projections are not part of this stand-in")
	}
	key, err := t.only(in.Key)
	if err != nil {
		return nil, err
	}
	reply := struct {
		Item item `json:",omitempty"`
	}{}
	if r := t.items[key]; r != nil {
		reply.Item = r.before
		if in.ConsistentRead {
			reply.Item = r.now
		}
		r.before = r.now // by the next read it has arrived everywhere
	}
	return reply, nil
}

func (c *call) describeTable() (any, error) {
	var in struct{ TableName string }
	if err := c.read(&in); err != nil {
		return nil, err
	}
	t, err := c.table(in.TableName)
	if err != nil {
		return nil, err
	}
	type element struct{ AttributeName, KeyType string }
	type definition struct{ AttributeName, AttributeType string }
	type description struct {
		TableName, TableArn, TableStatus string
		ItemCount                        int
		KeySchema                        []element
		AttributeDefinitions             []definition
	}
	return struct{ Table description }{description{
		TableName: t.Name, TableArn: t.arn, TableStatus: "ACTIVE", ItemCount: len(t.items),
		KeySchema: []element{{t.Partition, "HASH"}}, AttributeDefinitions: []definition{{t.Partition, "S"}},
	}}, nil
}
