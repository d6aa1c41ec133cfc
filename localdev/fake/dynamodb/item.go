package dynamodb

import (
	"bytes"
	"math/big"
	"regexp"
)

// attribute is a value of one of the types that this stand-in knows.
type attribute struct {
	S    *string `json:"S,omitzero"`
	N    *string `json:"N,omitzero"`
	B    *[]byte `json:"B,omitzero"`
	Bool *bool   `json:"BOOL,omitzero"`
	Null *bool   `json:"NULL,omitzero"`
}

type item map[string]attribute

// numberForm is that of a number (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html).
var numberForm = regexp.MustCompile(`^-?[0-9]{1,38}(\.[0-9]{1,38})?([eE][+-]?[0-9]{1,3})?$`)

func (a attribute) check() error {
	set := 0
	for _, is := range []bool{a.S != nil, a.N != nil, a.B != nil, a.Bool != nil, a.Null != nil} {
		if is {
			set++
		}
	}
	switch {
	case set != 1:
		return invalid("Supplied AttributeValue is empty or has more than one datatype, must contain exactly one of the supported datatypes")
	case a.N != nil && !numberForm.MatchString(*a.N):
		return invalid("The parameter cannot be converted to a numeric value: " + *a.N)
	case a.Null != nil && !*a.Null:
		return invalid("One or more parameter values were invalid: Null attribute value types must have the value of true")
	}
	return nil
}

func (a attribute) size() int {
	switch {
	case a.S != nil:
		return len(*a.S)
	case a.N != nil:
		return len(*a.N)/2 + 2
	case a.B != nil:
		return len(*a.B)
	}
	return 1
}

// compare returns the order of two values of the same type, and false for others.
func (a attribute) compare(b attribute) (int, bool) {
	switch {
	case a.S != nil && b.S != nil:
		return bytes.Compare([]byte(*a.S), []byte(*b.S)), true
	case a.B != nil && b.B != nil:
		return bytes.Compare(*a.B, *b.B), true
	case a.N != nil && b.N != nil:
		x, okX := new(big.Rat).SetString(*a.N)
		y, okY := new(big.Rat).SetString(*b.N)
		if !okX || !okY {
			return 0, false
		}
		return x.Cmp(y), true
	case a.Bool != nil && b.Bool != nil && *a.Bool == *b.Bool, a.Null != nil && b.Null != nil:
		return 0, true
	}
	return 0, false
}

func (i item) check() error {
	size := 0
	for name, a := range i {
		if name == "" || len(name) > 64<<10 {
			return invalid("One or more parameter values were invalid: attribute names must have 1 to 65535 bytes")
		}
		if err := a.check(); err != nil {
			return err
		}
		size += len(name) + a.size()
	}
	if size > maxItem {
		return invalid("Item size has exceeded the maximum allowed size")
	}
	return nil
}

// key returns the value of an item's key.
func (t *table) key(i item) (string, error) {
	a, ok := i[t.Partition]
	switch {
	case !ok:
		return "", invalid("One or more parameter values were invalid: Missing the key " + t.Partition + " in the item")
	case a.S == nil:
		return "", invalid("One or more parameter values were invalid: Type mismatch for key " + t.Partition + " expected: S")
	case *a.S == "":
		return "", invalid("One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. Key: " + t.Partition)
	case len(*a.S) > maxKey:
		return "", invalid("One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of 2048 bytes")
	}
	return *a.S, nil
}

// only returns the value of a key that was given as such, which holds nothing else.
func (t *table) only(i item) (string, error) {
	if err := i.check(); err != nil {
		return "", err
	}
	if _, ok := i[t.Partition]; !ok || len(i) != 1 {
		return "", invalid("The provided key element does not match the schema")
	}
	return t.key(i)
}

// Item is an item as an operator enters it.
type Item struct {
	Table, Key string
	Strings    map[string]string
}

// Seed stores an item of strings. It stands for an operator at the console, and needs no credentials.
func (s *Server) Seed(in Item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tables[in.Table]
	made := item{t.Partition: {S: &in.Key}}
	for name, text := range in.Strings {
		made[name] = attribute{S: &text}
	}
	t.items[in.Key] = &row{now: made, before: made}
}
