package kong

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The caller that a document begins with when the file names none: nobody can have a token of its issuer (RFC 2606).
const (
	placeholderIssuer   = "https://login.example.com"
	placeholderAudience = "postern"
)

type caller struct {
	issuer    string
	audiences []string
	from      string
}

// upstream is one entry of the document, as it will be written.
type upstream struct {
	name     string
	provider string
	from     string // what it was made of
	only     whose
	fields   []entry
	models   []model
}

// entry is a field of an upstream. A field without a text is not written, unless it has roles.
type entry struct {
	name, text, comment string
	role                []entry // for aws_roles: the fields of the one role
}

type model struct{ name, model string }

// set adds a field.
func (u *upstream) set(name, text string) { u.fields = append(u.fields, entry{name: name, text: text}) }

// about adds a field with a remark.
func (u *upstream) about(name, text, comment string) {
	u.fields = append(u.fields, entry{name: name, text: text, comment: comment})
}

// document writes the document.
func (im *importer) document() []byte {
	callers := im.callers
	if len(callers) == 0 {
		callers = []caller{{issuer: placeholderIssuer, audiences: []string{placeholderAudience}}}
		im.notes = append([]Note{{Do, "", "under callers, write the issuer and the audience of your callers' tokens in place of the example, " +
			"which admits nobody; or write platform_callers: true instead of callers and policy if the platform's IAM guards the function"}}, im.notes...)
	}
	if im.routed {
		im.notes = append(im.notes, Note{Lost, "", "routes and services: callers send every request to /v1/chat/completions and choose by the model's name"})
	}
	logs := im.logging()
	limits := im.limits()
	var b strings.Builder
	b.WriteString("# Made from a Kong configuration. Each note begins with a place in that file.\n")
	for _, line := range lines(im.notes) {
		b.WriteString(strings.TrimRight("# "+line, " ") + "\n")
	}
	b.WriteString("\ncallers:\n")
	for _, c := range callers {
		if c.from != "" {
			fmt.Fprintf(&b, "  # %s\n", c.from)
		}
		fmt.Fprintf(&b, "  - issuer: %s\n    audiences: %s\n", scalar(c.issuer), flow(c.audiences))
	}
	im.policy(&b)
	b.WriteString("upstreams:\n")
	for _, u := range im.upstreams {
		u.write(&b)
	}
	b.WriteString(logs + limits)
	return []byte(b.String())
}

// policy writes a rule for everybody who may call, as everybody could use Kong's routes, and one for each consumer or group
// that a plugin is for.
func (im *importer) policy(b *strings.Builder) {
	var order []whose
	models := map[whose][]string{}
	for _, u := range im.upstreams {
		if !slices.Contains(order, u.only) {
			order = append(order, u.only)
		}
		for _, m := range u.models {
			models[u.only] = append(models[u.only], m.name)
		}
		if len(u.models) == 0 {
			models[u.only] = append(models[u.only], u.name+"/*")
			if len(im.upstreams) == 1 {
				models[u.only] = append(models[u.only], "*")
			}
		}
	}
	b.WriteString("policy:\n")
	for _, only := range order {
		if only.match == "" {
			fmt.Fprintf(b, "  - models: %s\n", flow(models[only]))
			continue
		}
		fmt.Fprintf(b, "  - match: {%s: [%s]}\n    models: %s\n", only.match, inFlow(only.name), flow(models[only]))
	}
}

func (u *upstream) write(b *strings.Builder) {
	fmt.Fprintf(b, "  # %s\n  - name: %s\n    provider: %s\n", u.from, scalar(u.name), u.provider)
	for _, f := range u.fields {
		switch {
		case len(f.role) > 0:
			fmt.Fprintf(b, "    %s:\n", f.name)
			for i, part := range f.role {
				lead := "        "
				if i == 0 {
					lead = "      - "
				}
				fmt.Fprintf(b, "%s%s: %s\n", lead, part.name, scalar(part.text))
			}
		case f.text == "":
		case f.comment != "":
			fmt.Fprintf(b, "    %s: %s # %s\n", f.name, scalar(f.text), f.comment)
		default:
			fmt.Fprintf(b, "    %s: %s\n", f.name, scalar(f.text))
		}
	}
	if len(u.models) == 0 {
		return
	}
	b.WriteString("    models:\n")
	for _, m := range u.models {
		if m.model == "" || m.model == m.name {
			fmt.Fprintf(b, "      - %s\n", scalar(m.name))
			continue
		}
		fmt.Fprintf(b, "      - {name: %s, model: %s}\n", inFlow(m.name), inFlow(m.model))
	}
}

// logging writes what all plugins agree on. Payloads are only logged if every plugin logged them, since there is one setting
// for all.
func (im *importer) logging() string {
	var parts []string
	if len(im.statistics) > 0 {
		parts = append(parts, fmt.Sprintf("log_statistics: %t", slices.Contains(im.statistics, true)))
	}
	if len(im.payloads) > 0 {
		all := !slices.Contains(im.payloads, false)
		parts = append(parts, fmt.Sprintf("log_payloads: %t", all))
		if !all && slices.Contains(im.payloads, true) {
			im.lost("", "log_payloads: only some of the plugins log them, and there is one setting for all upstreams, so it is off")
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return "logging: {" + strings.Join(parts, ", ") + "}\n"
}

// The bounds of a request body in a document.
const (
	leastBody = 1 << 10
	mostBody  = 32 << 20
)

func (im *importer) limits() string {
	if im.maxBody == 0 {
		return ""
	}
	return fmt.Sprintf("limits: {max_body_bytes: %d}\n", min(max(im.maxBody, leastBody), mostBody))
}

// flow writes a list on one line.
func flow(texts []string) string {
	items := make([]string, len(texts))
	for i, text := range texts {
		items[i] = inFlow(text)
	}
	return "[" + strings.Join(items, ", ") + "]"
}

// harmless are texts that YAML takes for nothing but a text, and that stand for themselves.
var (
	harmless = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./@+-]*(:[A-Za-z0-9_./@+-]+)*$`)
	words    = []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
)

// scalar writes a text so that it is read as the same text.
func scalar(text string) string {
	if harmless.MatchString(text) && !slices.Contains(words, strings.ToLower(text)) {
		return text
	}
	return quoted(text)
}

// inFlow is scalar for a text between brackets, where a colon may end it.
func inFlow(text string) string {
	if strings.Contains(text, ":") {
		return quoted(text)
	}
	return scalar(text)
}

// quoted writes a text as a JSON string, which is a YAML one too.
func quoted(text string) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(text); err != nil {
		return `""` // a string always encodes
	}
	return strings.TrimSuffix(b.String(), "\n")
}
