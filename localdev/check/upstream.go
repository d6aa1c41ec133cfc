package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/config"
)

// plan is how a function on one cloud proves itself to an upstream.
type plan struct {
	steps []string
	needs []string
	// impossible says why it cannot, if it cannot.
	impossible string
}

func (p *plan) step(format string, a ...any) { p.steps = append(p.steps, fmt.Sprintf(format, a...)) }
func (p *plan) need(format string, a ...any) {
	if need := fmt.Sprintf(format, a...); !slices.Contains(p.needs, need) {
		p.needs = append(p.needs, need)
	}
}

// part begins a need that belongs to the one before.
const part = "  "

func (p *plan) same(other *plan) bool {
	return slices.Equal(p.steps, other.steps) && slices.Equal(p.needs, other.needs) && p.impossible == other.impossible
}

// upstream explains one upstream.
func (p *page) upstream(u *config.Upstream, refused func(config.Cloud) []string) {
	fmt.Fprintf(p, "\nUpstream %s\n", u.Name)
	p.line("  service   ", service(u))
	p.line("  models    ", models(u))
	p.line("  auth      ", string(u.AuthType)+": "+how(u))
	if text := lifetime(u); text != "" {
		p.line("  refresh   ", text)
	}
	plans := map[config.Cloud]*plan{}
	for _, cloud := range clouds() {
		plans[cloud] = planFor(u, cloud)
		if problems := refused(cloud); len(problems) > 0 {
			plans[cloud] = &plan{impossible: strings.Join(problems, "; ")}
		}
	}
	first := plans[config.AWS]
	if plans[config.GCP].same(first) && plans[config.Azure].same(first) {
		p.plan("on every cloud", first)
		return
	}
	for _, cloud := range clouds() {
		p.plan(functionOn(cloud), plans[cloud])
	}
}

func (p *page) plan(where string, one *plan) {
	p.WriteString("  " + where + "\n")
	if one.impossible != "" {
		p.line("    not possible: ", one.impossible)
		return
	}
	for i, step := range one.steps {
		if !strings.HasPrefix(step, "http") {
			step = strings.ToUpper(step[:1]) + step[1:]
		}
		p.line(fmt.Sprintf("    %d. ", i+1), step)
	}
	for i, need := range one.needs {
		lead := "           - "
		switch {
		case i == 0:
			lead = "    needs  - "
		case strings.HasPrefix(need, part):
			lead = "               "
		}
		p.line(lead, need)
	}
}

// service says what is called, and where.
func service(u *config.Upstream) string {
	switch u.Provider {
	case config.Bedrock:
		suffix := ".amazonaws.com"
		if partition(u) == "aws-cn" {
			suffix += ".cn"
		}
		return "Amazon Bedrock at " + cmp.Or(u.BaseURL, "https://bedrock-runtime."+region(u)+suffix)
	case config.Vertex:
		host := "https://" + u.LocationID + "-aiplatform.googleapis.com"
		if u.LocationID == "global" {
			host = "https://aiplatform.googleapis.com"
		}
		return fmt.Sprintf("Vertex AI at %s, project %s, location %s", cmp.Or(u.BaseURL, host), cmp.Or(u.ProjectID, "of the function"), u.LocationID)
	case config.AzureOpenAI:
		base := cmp.Or(u.BaseURL, "https://"+u.AzureInstance+".openai.azure.com")
		if u.AzureAPIVersion != "" {
			return "Azure OpenAI at " + base + "/openai/deployments/, api-version " + u.AzureAPIVersion
		}
		return "Azure OpenAI at " + base + "/openai/v1/"
	case config.Anthropic:
		return "Anthropic at " + cmp.Or(u.BaseURL, "https://api.anthropic.com")
	case config.OpenAI:
		return "OpenAI at " + cmp.Or(u.BaseURL, "https://api.openai.com/v1")
	default:
		return "a server that speaks OpenAI's format at " + u.BaseURL
	}
}

// region is the upstream's, or a word for the one that the function is in.
func region(u *config.Upstream) string { return cmp.Or(u.AWSRegion, "REGION") }

func models(u *config.Upstream) string {
	if len(u.Models) == 0 {
		return "every model of the service, as " + u.Name + "/MODEL, and as MODEL where there is no other upstream"
	}
	texts := make([]string, len(u.Models))
	for i, m := range u.Models {
		texts[i] = m.Name
		var more []string
		if m.Name != m.Model {
			more = append(more, "there: "+m.Model)
		}
		if len(m.Fallbacks) > 0 {
			more = append(more, "if it fails: "+strings.Join(m.Fallbacks, ", then "))
		}
		if len(more) > 0 {
			texts[i] += " (" + strings.Join(more, "; ") + ")"
		}
	}
	return strings.Join(texts, ", ")
}

func how(u *config.Upstream) string {
	for _, cell := range config.Matrix() {
		if cell.Provider == u.Provider && cell.AuthType == u.AuthType {
			return cell.How
		}
	}
	return ""
}

// lifetime says when the credential is replaced.
func lifetime(u *config.Upstream) string {
	var text string
	switch u.RefreshPolicy {
	case config.Lazy:
		text = "only when the credential has ended or is rejected"
	case config.PreExpiry:
		text = "by a request within " + length(cmp.Or(u.RefreshWindow, 5*time.Minute)) + " of the credential's end, while the others go on with it"
		if u.RefreshJitter > 0 {
			text += "; instances spread that over " + length(u.RefreshJitter) + " more"
		}
	case config.Proactive:
		text = "by the scheduled function, ahead of requests, into the shared cache"
	default:
		text = "a stored key has no end; it is read again when it is rejected"
	}
	if u.AuditOnRotate {
		text += "; a credential that takes the place of another is an audit event"
	}
	return text
}

// planFor says how the functions of a cloud authenticate.
func planFor(u *config.Upstream, cloud config.Cloud) *plan {
	w := &writer{plan: &plan{}, u: u, cloud: cloud}
	switch {
	case u.AuthType == config.APIKey:
		w.key()
	case u.AuthType == config.AWSSigV4, u.Provider == config.Bedrock:
		w.aws()
	case u.AuthType == config.AzureAD, u.AuthType == config.Native && u.Provider == config.AzureOpenAI:
		w.entra()
	case u.Provider == config.Vertex:
		w.google()
	case u.AuthType == config.Native:
		w.vendor()
	default:
		w.client()
		w.step("The token is sent in the header Authorization.")
	}
	return w.plan
}

// writer writes the plan of an upstream for a cloud.
type writer struct {
	*plan
	u     *config.Upstream
	cloud config.Cloud
}

// key is a stored one.
func (w *writer) key() {
	if !w.read(w.u.CredentialRef, "credential_ref", "the key") {
		return
	}
	where := "the header Authorization, after Bearer"
	switch {
	case w.u.QueryName != "":
		where = "the query, as " + w.u.QueryName
	case w.u.Provider == config.AzureOpenAI:
		where = "the header api-key"
	case w.u.Provider == config.Anthropic:
		where = "the header x-api-key"
	case w.u.HeaderName != "" || w.u.HeaderPrefix != "":
		where = "the header " + cmp.Or(w.u.HeaderName, "Authorization")
		if w.u.HeaderPrefix != "" {
			where += ", after " + strings.TrimSpace(w.u.HeaderPrefix)
		}
	}
	w.step("The key is sent in %s.", where)
}
