// Package explain says what a document's policy decides for one caller and one model, which rule did so, and why the rules before it did
// not.
//
// It asks the very code that decides in a function, and nothing that only resembles it: package caller judges the token, with the issuer's
// keys as they are now, and package policy decides. It calls no model and holds no credential.
package explain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/caller"
	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/policy"
)

// Question is whom and what to decide about.
type Question struct {
	// Token is the caller's bearer token.
	Token string
	// ARN stands for a caller whom AWS IAM has admitted, in place of a token.
	ARN string
	// Model is the public name of the model.
	Model string
	// Route is the part of the API; empty means chat.
	Route config.Endpoint
	// IAMMFA says that AWS IAM asks for a second factor, as POSTERN_IAM_MFA does.
	IAMMFA bool
	// Transport fetches the issuer's keys. Nil means that of package caller.
	Transport http.RoundTripper
}

// Explain answers the question. Its error is the *config.Problems of a document that does not load, or says what the question lacks.
func Explain(ctx context.Context, data []byte, q Question) (string, error) {
	d, err := config.Load(data)
	if err != nil {
		return "", err
	}
	if q.Model == "" {
		return "", errors.New("say which model, with -model")
	}
	if (q.Token == "") == (q.ARN == "") {
		return "", errors.New("say who calls: -token TOKEN, or -arn ARN for an identity that AWS IAM has admitted")
	}
	if q.ARN != "" && !strings.HasPrefix(q.ARN, "arn:") {
		return "", fmt.Errorf("-arn takes the ARN of an identity, such as arn:aws:sts::123456789012:assumed-role/ROLE/SESSION, not %q", q.ARN)
	}
	if q.Route != "" && !slices.Contains(config.Endpoints(), q.Route) {
		return "", fmt.Errorf("-route takes a part of the API, chat or models, not %q", q.Route)
	}
	d.MFA.IAM = q.IAMMFA
	var b strings.Builder
	who, err := authenticate(ctx, d, q)
	if err != nil {
		var refusal *caller.Error
		if !errors.As(err, &refusal) {
			return "", err
		}
		fmt.Fprintf(&b, "caller    not authenticated (%s): %s\ndecision  401, before any rule is asked\n", refusal.Code, refusal.Public)
		return b.String(), nil
	}
	describe(&b, who)
	route, ok := config.NewRouter(d).Route(q.Model)
	if !ok {
		fmt.Fprintf(&b, "target    no upstream serves the model %q\ndecision  404, before any rule is asked\n", q.Model)
		return b.String(), nil
	}
	rules, part := policy.Compile(d), cmp.Or(q.Route, config.EndpointChat)
	fmt.Fprintf(&b, "target    %s for the model %s\n", part, where(route))
	if !decide(&b, rules, who, part, route) || part != config.EndpointChat {
		return b.String(), nil
	}
	for _, fallback := range route.Fallbacks {
		fmt.Fprintf(&b, "fallback  %s\n", where(fallback))
		decide(&b, rules, who, part, fallback)
	}
	return b.String(), nil
}

func where(to config.Route) string {
	return fmt.Sprintf("%s: upstream %s, where it is called %s", to.Name, to.Upstream.Name, to.Model)
}

// decide writes the decision about one model and what led to it, and reports whether the caller may use the model.
func decide(b *strings.Builder, rules *policy.Policy, who *caller.Principal, part config.Endpoint, to config.Route) bool {
	decision, findings := rules.Explain(who, policy.Target{Route: part, Model: to.Name, Upstream: to.Upstream.Name, UpstreamModel: to.Model})
	for _, f := range findings {
		verdict := "does not match: " + f.Because
		if f.Matches {
			verdict = "matches, and decides"
		}
		fmt.Fprintf(b, "rule      %s %s\n", f.Rule, verdict)
	}
	conclude(b, decision)
	return decision.Allowed
}

func authenticate(ctx context.Context, d *config.Document, q Question) (*caller.Principal, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/v1/chat/completions", nil)
	if err != nil {
		return nil, err
	}
	if q.ARN != "" && !d.PlatformCallers {
		return nil, errors.New("the document does not say platform_callers: true, so it accepts no identity of AWS IAM")
	}
	if q.Token != "" {
		r.Header.Set("Authorization", "Bearer "+q.Token)
	}
	iam := caller.Lambda(func(*http.Request) (string, bool) { return q.ARN, q.ARN != "" })
	return caller.New(d, caller.Options{Platform: iam, Transport: q.Transport}).Authenticate(r)
}

// describe writes what is known about the caller. It is what rules can ask about.
func describe(b *strings.Builder, who *caller.Principal) {
	fmt.Fprintf(b, "caller    %s, %s of the issuer %s, authenticated by %s\n", who.Name, kind(who), who.Issuer, who.Method)
	line := func(name string, values ...string) {
		if text := strings.Join(values, ", "); text != "" {
			fmt.Fprintf(b, "          %s: %s\n", name, text)
		}
	}
	line("subject", who.Subject)
	line("tenant", who.Tenant)
	line("client", who.Client)
	line("groups", who.Groups...)
	line("roles", who.Roles...)
	line("scopes", who.Scopes...)
	line("acr", who.ACR)
	line("amr", who.AMR...)
	line("acrs", who.Contexts...)
	if !who.AuthTime.IsZero() {
		line("authenticated at", who.AuthTime.UTC().Format(time.RFC3339))
	}
	for _, name := range slices.Sorted(maps.Keys(who.Claims)) {
		line("claim "+name, who.Claims[name]...)
	}
}

func kind(who *caller.Principal) string {
	switch who.Kind {
	case caller.User:
		return "a person"
	case caller.Workload:
		return "a program"
	}
	return "a person or a program (its credential does not say)"
}

func conclude(b *strings.Builder, d policy.Decision) {
	switch {
	case d.StepUp != nil:
		fmt.Fprintf(b, "decision  401, step-up: %s\n", d.Reason)
		if d.StepUp.EntraContext != "" {
			fmt.Fprintf(b, "          Entra is asked for the authentication context %s\n", d.StepUp.EntraContext)
			return
		}
		if len(d.StepUp.ACRValues) > 0 {
			fmt.Fprintf(b, "          asked for: acr %s\n", strings.Join(d.StepUp.ACRValues, " or "))
		}
		if d.StepUp.MaxAge > 0 {
			fmt.Fprintf(b, "          asked for: an authentication at most %s ago\n", d.StepUp.MaxAge)
		}
		return
	case !d.Allowed:
		fmt.Fprintf(b, "decision  403: %s\n", d.Reason)
		return
	case d.Rule() == "":
		b.WriteString("decision  allowed: the document has no rules, and the platform's callers may use every model\n")
	default:
		fmt.Fprintf(b, "decision  allowed by %s\n", d.Rule())
	}
	if g := d.Grant; g.MaxTokens > 0 {
		fmt.Fprintf(b, "          answers of at most %d tokens\n", g.MaxTokens)
	}
	if t := d.Grant.Tools; t.Limited {
		fmt.Fprintf(b, "          tools: %s\n", strings.Join(append(t.Names[:len(t.Names):len(t.Names)], "no others"), ", "))
	}
	for _, l := range []struct {
		n    int64
		what string
	}{{d.Grant.Limits.RequestsPerMinute, "requests a minute"}, {d.Grant.Limits.TokensPerMinute, "tokens a minute"}, {d.Grant.Limits.ConcurrentStreams, "streams at a time"}} {
		if l.n > 0 {
			fmt.Fprintf(b, "          at most %d %s\n", l.n, l.what)
		}
	}
	if d.Grant.LogPayloads {
		b.WriteString("          prompts and answers are logged\n")
	}
}
