package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The document's own limits. A document is written by the operator, so these only keep a mistake (the wrong file) from
// costing a cold start: what the YAML parser allocates grows with the square of the nesting and of a mapping's fields.
const (
	maxDocumentBytes = 512 << 10
	maxNesting       = 32
)

// kind is what a node is.
type kind int

const (
	kindInvalid kind = iota // already reported
	kindText
	kindInteger
	kindFloat
	kindFlag
	kindNull
	kindList
	kindMapping
)

// node is a value of the document with the line it stands on. It is what is left of YAML or JSON once everything that the
// document may not use (anchors, tags, merge keys, several documents) has been refused.
type node struct {
	kind   kind
	line   int
	text   string // of scalars
	items  []node // of lists
	fields []field
}

// field is one entry of a mapping.
type field struct {
	key   string
	line  int
	value node
}

// parse turns the document's bytes into nodes. Its errors carry no part of the document's text except field names, because a
// syntax error is often next to a value that should not be shown.
func parse(data []byte) (node, []Problem) {
	if problem, ok := precheck(data); !ok {
		return node{}, []Problem{problem}
	}
	data = []byte(strings.TrimPrefix(string(data), "\ufeff"))
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return node{}, []Problem{syntaxProblem(err)}
	}
	var bodies []ast.Node
	for _, document := range file.Docs {
		if document.Body != nil {
			bodies = append(bodies, document.Body)
		}
	}
	switch len(bodies) {
	case 0:
		return node{}, []Problem{{
			Message: "the document is empty",
			Remedy:  "describe at least one upstream, or unset it altogether to serve this cloud's own provider",
		}}
	case 1:
		var c converter
		n := c.convert(bodies[0], "", 0)
		return n, c.problems
	default:
		return node{}, []Problem{{
			Message: "there is more than one document, or a %YAML directive, in the text",
			Remedy:  "keep one document and leave directives out",
			Line:    lineOf(bodies[1]),
		}}
	}
}

// precheck refuses what should not reach the parser at all.
func precheck(data []byte) (Problem, bool) {
	if len(data) > maxDocumentBytes {
		return Problem{
			Message: fmt.Sprintf("the document has %d bytes, the most that is read is %d", len(data), maxDocumentBytes),
			Remedy:  "check that this is the right file",
		}, false
	}
	if !utf8.Valid(data) {
		return Problem{Message: "the document is not valid UTF-8", Remedy: "save it as UTF-8 text"}, false
	}
	depth, line := 0, 1
	for text := range strings.Lines(string(data)) {
		// Brackets inside quotes are counted too: dozens of unbalanced ones are no document that anybody writes.
		for _, c := range []byte(text) {
			switch c {
			case '[', '{':
				depth++
			case ']', '}':
				depth = max(depth-1, 0)
			}
			if depth > maxNesting {
				return tooDeep(line), false
			}
		}
		entry := strings.TrimLeft(text, " -?")
		if strings.Count(text[:len(text)-len(entry)], "- ")+strings.Count(text[:len(text)-len(entry)], "? ") > maxNesting {
			return tooDeep(line), false
		}
		line++
	}
	return Problem{}, true
}

func tooDeep(line int) Problem {
	return Problem{
		Message: fmt.Sprintf("values are nested more than %d deep", maxNesting),
		Remedy:  "check that this is the right file",
		Line:    line,
	}
}

// syntaxProblem reduces the parser's error to its message and line. Its own text quotes the source.
func syntaxProblem(err error) Problem {
	problem := Problem{Message: "the document is neither YAML nor JSON", Remedy: "correct the syntax"}
	var positioned interface {
		GetMessage() string
		GetToken() *token.Token
	}
	if !errors.As(err, &positioned) {
		return problem
	}
	if t := positioned.GetToken(); t != nil && t.Position != nil {
		problem.Line = t.Position.Line
	}
	message := positioned.GetMessage()
	if strings.HasPrefix(message, "mapping key ") {
		problem.Message = "a field is given twice: " + message
		problem.Remedy = "keep one of the two"
		return problem
	}
	problem.Message += ": " + message
	return problem
}

// converter turns the parser's tree into nodes and collects what a document may not use.
type converter struct {
	problems []Problem
}

func (c *converter) refuse(n ast.Node, path, message string) node {
	c.problems = append(c.problems, Problem{
		Path: path, Message: message, Remedy: "write the value out in plain YAML or JSON", Line: lineOf(n),
	})
	return node{kind: kindInvalid, line: lineOf(n)}
}

func (c *converter) convert(n ast.Node, path string, depth int) node {
	if depth > maxNesting {
		return c.refuse(n, path, fmt.Sprintf("values are nested more than %d deep", maxNesting))
	}
	switch n := n.(type) {
	case *ast.StringNode:
		return node{kind: kindText, line: lineOf(n), text: n.Value}
	case *ast.LiteralNode:
		return node{kind: kindText, line: lineOf(n), text: n.Value.Value}
	case *ast.IntegerNode:
		return node{kind: kindInteger, line: lineOf(n), text: n.Token.Value}
	case *ast.FloatNode:
		return node{kind: kindFloat, line: lineOf(n), text: n.Token.Value}
	case *ast.InfinityNode, *ast.NanNode:
		return node{kind: kindFloat, line: lineOf(n), text: n.GetToken().Value}
	case *ast.BoolNode:
		return node{kind: kindFlag, line: lineOf(n), text: strings.ToLower(n.Token.Value)}
	case *ast.NullNode:
		return node{kind: kindNull, line: lineOf(n)}
	case *ast.SequenceNode:
		list := node{kind: kindList, line: lineOf(n)}
		for i, item := range n.Values {
			list.items = append(list.items, c.convert(item, fmt.Sprintf("%s[%d]", path, i), depth+1))
		}
		return list
	case *ast.MappingNode:
		return c.mapping(n, path, depth)
	case *ast.AnchorNode, *ast.AliasNode:
		return c.refuse(n, path, "anchors and aliases are not supported")
	case *ast.TagNode:
		return c.refuse(n, path, "tags are not supported")
	case nil:
		return node{kind: kindNull}
	default:
		return c.refuse(n, path, "this kind of YAML is not supported")
	}
}

func (c *converter) mapping(n *ast.MappingNode, path string, depth int) node {
	mapping := node{kind: kindMapping, line: lineOf(n)}
	seen := make(map[string]int, len(n.Values))
	for i, entry := range n.Values {
		if i == 0 {
			mapping.line = lineOf(entry.Key)
		}
		var key string
		switch k := entry.Key.(type) {
		case *ast.StringNode:
			key = k.Value
		case *ast.MergeKeyNode:
			return c.refuse(k, path, "merge keys are not supported")
		case *ast.MappingKeyNode:
			return c.refuse(k, path, "the \"? key\" form is not supported")
		default:
			key = entry.Key.GetToken().Value
		}
		line := lineOf(entry.Key)
		if first, twice := seen[key]; twice {
			c.problems = append(c.problems, Problem{
				Path: join(path, key), Message: fmt.Sprintf("the field is given twice, first on line %d", first),
				Remedy: "keep one of the two", Line: line,
			})
			continue
		}
		seen[key] = line
		mapping.fields = append(mapping.fields, field{
			key: key, line: line, value: c.convert(entry.Value, join(path, key), depth+1),
		})
	}
	return mapping
}

func lineOf(n ast.Node) int {
	if n == nil {
		return 0
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 0
}

// join appends a field's name to a path. A name that no document has is cut and quoted, so that it cannot fill a log or
// break its lines.
func join(path, key string) string {
	if !made(key, 1, 64, letters+digits+"_-.") {
		key = fmt.Sprintf("%.40q", key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}
