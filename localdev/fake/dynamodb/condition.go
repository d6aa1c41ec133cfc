package dynamodb

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// condition is a condition expression with its placeholders
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html). Comparisons,
// attribute_exists, attribute_not_exists, begins_with, AND, OR, NOT and parentheses are known, on attributes at the top of an item.
type condition struct {
	text   string
	names  map[string]string
	values item
}

// token is a word, a placeholder, a comparator or a mark.
var token = regexp.MustCompile(`^(?:[ \t\r\n]+|([#:]?[a-zA-Z_][a-zA-Z0-9_]*|<>|<=|>=|[=<>(),]))`)

// reserved are some of the words that no attribute may be called by in an expression
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ReservedWords.html).
var reserved = []string{"BEGIN", "COUNT", "DATA", "DATE", "END", "HASH", "KEY", "LEASE", "NAME", "OWNER", "STATE", "STATUS", "TIME", "TOKEN", "TTL", "VALUE", "VALUES"}

// parser evaluates an expression while it reads it. Both sides of AND and OR are always read, since an expression is checked as a whole.
type parser struct {
	condition
	tokens []string
	used   map[string]bool
	on     item
}

func evaluate(c condition, on item) (bool, error) {
	p := &parser{condition: c, used: map[string]bool{}, on: on}
	if strings.TrimSpace(c.text) == "" {
		return false, wrong("The expression can not be empty;")
	}
	for rest := c.text; rest != ""; {
		m := token.FindStringSubmatch(rest)
		if m == nil {
			return false, wrong("Syntax error; token: \"" + rest[:1] + "\"")
		}
		if m[1] != "" {
			p.tokens = append(p.tokens, m[1])
		}
		rest = rest[len(m[0]):]
	}
	met, err := p.either()
	if err != nil {
		return false, err
	}
	if len(p.tokens) > 0 {
		return false, wrong("Syntax error; token: \"" + p.tokens[0] + "\"")
	}
	return met, p.unused()
}

func wrong(message string) error { return invalid("Invalid ConditionExpression: " + message) }

func (p *parser) unused() error {
	for _, name := range slices.Sorted(maps.Keys(p.names)) {
		if !p.used[name] {
			return invalid("Value provided in ExpressionAttributeNames unused in expressions: keys: {" + name + "}")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.values)) {
		if !p.used[name] {
			return invalid("Value provided in ExpressionAttributeValues unused in expressions: keys: {" + name + "}")
		}
	}
	return nil
}

func (p *parser) next() string {
	if len(p.tokens) == 0 {
		return ""
	}
	first := p.tokens[0]
	p.tokens = p.tokens[1:]
	return first
}

func (p *parser) took(word string) bool {
	if len(p.tokens) > 0 && strings.EqualFold(p.tokens[0], word) {
		p.next()
		return true
	}
	return false
}

func (p *parser) either() (bool, error) {
	met, err := p.both()
	for err == nil && p.took("OR") {
		var other bool
		other, err = p.both()
		met = met || other
	}
	return met, err
}

func (p *parser) both() (bool, error) {
	met, err := p.one()
	for err == nil && p.took("AND") {
		var other bool
		other, err = p.one()
		met = met && other
	}
	return met, err
}

func (p *parser) one() (bool, error) {
	if p.took("NOT") {
		met, err := p.one()
		return !met, err
	}
	if p.took("(") {
		met, err := p.either()
		if err == nil && !p.took(")") {
			err = wrong("Syntax error; a parenthesis is not closed")
		}
		return met, err
	}
	if len(p.tokens) > 1 && p.tokens[1] == "(" {
		return p.function()
	}
	left, there, err := p.operand()
	if err != nil {
		return false, err
	}
	comparator := p.next()
	right, other, err := p.operand()
	if err != nil {
		return false, err
	}
	order, same := left.compare(right)
	same = same && there && other
	switch comparator {
	case "=":
		return same && order == 0, nil
	case "<>":
		return !same || order != 0, nil
	case "<":
		return same && order < 0, nil
	case "<=":
		return same && order <= 0, nil
	case ">":
		return same && order > 0, nil
	case ">=":
		return same && order >= 0, nil
	}
	return false, wrong("Syntax error; token: \"" + comparator + "\"")
}

func (p *parser) function() (bool, error) {
	name := p.next()
	p.next()
	a, there, err := p.operand()
	if err != nil {
		return false, err
	}
	met := there
	switch name {
	case "attribute_exists":
	case "attribute_not_exists":
		met = !there
	case "begins_with":
		if !p.took(",") {
			return false, wrong("Incorrect number of operands for operator or function; operator or function: begins_with")
		}
		prefix, _, err := p.operand()
		if err != nil {
			return false, err
		}
		met = a.S != nil && prefix.S != nil && strings.HasPrefix(*a.S, *prefix.S)
	default:
		return false, wrong("Invalid function name; function: " + name)
	}
	if !p.took(")") {
		return false, wrong("Incorrect number of operands for operator or function; operator or function: " + name)
	}
	return met, nil
}

// operand reads a name or a value, and reports whether it is there.
func (p *parser) operand() (attribute, bool, error) {
	word := p.next()
	switch {
	case strings.HasPrefix(word, ":"):
		a, ok := p.values[word]
		if !ok {
			return attribute{}, false, wrong("An expression attribute value used in expression is not defined; attribute value: " + word)
		}
		p.used[word] = true
		return a, true, nil
	case strings.HasPrefix(word, "#"):
		name, ok := p.names[word]
		if !ok {
			return attribute{}, false, wrong("An expression attribute name used in the document path is not defined; attribute name: " + word)
		}
		p.used[word] = true
		word = name
	case word == "" || strings.ContainsAny(word, "=<>(),"):
		return attribute{}, false, wrong("Syntax error; token: \"" + word + "\"")
	case slices.Contains(reserved, strings.ToUpper(word)):
		return attribute{}, false, wrong("Attribute name is a reserved keyword; reserved keyword: " + word)
	}
	a, ok := p.on[word]
	return a, ok, nil
}
