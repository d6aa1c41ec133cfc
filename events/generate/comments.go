package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// comments is what the source says that the types themselves do not.
type comments struct {
	types  map[string]string            // by type
	fields map[string]map[string]string // by type and field
	values map[string][]value           // the constants of a type, in their order
}

// value is a constant and what it means.
type value struct{ text, meaning string }

// read parses the package in a folder.
func read(dir string) (*comments, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("no source in %s: %w", dir, os.ErrNotExist)
	}
	c := &comments{types: map[string]string{}, fields: map[string]map[string]string{}, values: map[string][]value{}}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, d := range parsed.Decls {
			if general, ok := d.(*ast.GenDecl); ok {
				c.declaration(general)
			}
		}
	}
	return c, nil
}

func (c *comments) declaration(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			c.types[spec.Name.Name] = words(d.Doc)
			if s, ok := spec.Type.(*ast.StructType); ok {
				c.fields[spec.Name.Name] = fields(s)
			}
		case *ast.ValueSpec:
			c.constant(spec)
		}
	}
}

// constant takes down a constant that is one of the texts of a named type.
func (c *comments) constant(spec *ast.ValueSpec) {
	named, ok := spec.Type.(*ast.Ident)
	if !ok || len(spec.Values) != 1 {
		return
	}
	if literal, ok := spec.Values[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
		if text, err := strconv.Unquote(literal.Value); err == nil {
			c.values[named.Name] = append(c.values[named.Name], value{text, words(spec.Comment)})
		}
	}
}

// fields returns what the comments of a struct say of its fields. A field without a comment has that of the one before, if it is named there.
func fields(s *ast.StructType) map[string]string {
	docs := map[string]string{}
	before := ""
	for _, f := range s.Fields.List {
		doc := words(f.Doc)
		for _, name := range f.Names {
			switch {
			case doc != "":
				docs[name.Name], before = doc, doc
			case regexp.MustCompile(`\b` + name.Name + `\b`).MatchString(before):
				docs[name.Name] = before
			}
		}
	}
	return docs
}

// words returns a comment as one line.
func words(group *ast.CommentGroup) string {
	if group == nil {
		return ""
	}
	return strings.Join(strings.Fields(group.Text()), " ")
}

var (
	reference = regexp.MustCompile(` ?See \[[^\]]*\]\.`)
	brackets  = regexp.MustCompile(`\[([A-Za-z.]+)\]`)
)

// describe turns a comment about something with a Go name into a description for readers who know no Go: the members are named as in JSON.
func describe(name, comment string, members map[string]string) string {
	text := brackets.ReplaceAllString(reference.ReplaceAllString(comment, ""), "$1")
	if rest, ok := strings.CutPrefix(text, name+" "); ok && !strings.HasPrefix(rest, "and ") {
		text = strings.TrimPrefix(strings.TrimPrefix(rest, "is "), "are ")
	}
	for field, member := range members {
		text = regexp.MustCompile(`\b`+field+`\b`).ReplaceAllString(text, member)
	}
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// field returns the description of a field of a struct.
func (c *comments) field(of reflect.Type, f reflect.StructField) (string, error) {
	doc := c.fields[of.Name()][f.Name]
	if doc == "" {
		return "", fmt.Errorf("%s.%s has no comment, and that of the field before it does not name it", of.Name(), f.Name)
	}
	return describe(f.Name, doc, memberNames(of)), nil
}

// memberNames are the JSON names of the fields of a struct.
func memberNames(of reflect.Type) map[string]string {
	names := map[string]string{}
	for f := range of.Fields() {
		if name := memberName(f); name != "" {
			names[f.Name] = name
		}
	}
	return names
}

func memberName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}
