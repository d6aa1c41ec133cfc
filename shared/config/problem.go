package config

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with a document.
type Problem struct {
	// Path is the place in the document, such as "upstreams[1].auth_type". Empty means the document as a whole.
	Path string
	// Value is what the document says there. It is empty for a place that may hold a secret.
	Value string
	// Message says what is wrong.
	Message string
	// Remedy says what to do about it.
	Remedy string
	// Line is the line in the document, counted from 1; 0 when nothing in the document is to be pointed at.
	Line int
}

// String returns the problem as one line of text.
func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", p.Line)
	}
	if p.Path != "" {
		b.WriteString(p.Path)
		if p.Value != "" {
			fmt.Fprintf(&b, " (%q)", p.Value)
		}
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	if p.Remedy != "" {
		b.WriteString("; " + p.Remedy)
	}
	return b.String()
}

// Problems is the error that loading returns: everything that is wrong with a document, in the document's order.
type Problems struct {
	// List is never empty.
	List []Problem
}

// Error returns one line per problem.
func (p *Problems) Error() string {
	if len(p.List) == 1 {
		return "configuration: " + p.List[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "configuration: %d problems", len(p.List))
	for _, one := range p.List {
		b.WriteString("\n  " + one.String())
	}
	return b.String()
}
