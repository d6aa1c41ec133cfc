package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postern-ai/postern/shared/config"
)

// aws explains a signature.
func (w *writer) aws() {
	u := w.u
	signer := w.chain()
	if w.impossible != "" {
		return
	}
	name := "bedrock"
	if u.Provider == config.CustomOpenAI {
		name = cmp.Or(u.AWSService, "execute-api")
	}
	w.step("Each request is signed with SigV4 for the service %s in %s.", name, region(u))
	w.permissions(signer, name)
}

// chain explains whose credentials sign, and names it.
func (w *writer) chain() string {
	u := w.u
	roles := u.AWSRoles
	if u.CredentialRef != "" {
		if !w.read(u.CredentialRef, "credential_ref", u.Holds()) {
			return ""
		}
		w.step("If it holds access keys, they are used as they are; if it names a role, that role is assumed first, as below.")
		if len(roles) == 0 {
			w.need("for a role that the secret names: %s", w.entrance())
			return "the user or role of the secret"
		}
	}
	if w.cloud == config.AWS {
		who := "the function's role"
		if u.CredentialRef != "" {
			who = "the user or role of the secret"
		} else {
			if len(roles) > 0 && roles[0].Duration > time.Hour {
				w.impossible = "aws_roles[0].duration: a role that another role assumes, such as the function's own, lasts at most 1h; lower it"
				return ""
			}
			w.step("The function's role gives credentials, by its environment; elsewhere on AWS the chain of the SDK does.")
		}
		return w.assume(who, roles)
	}
	switch {
	case u.CredentialRef != "":
		return w.assume("the user or role of the secret", roles)
	case len(roles) == 0:
		w.impossible = "a function here has no AWS identity; give aws_roles or credential_ref"
		return ""
	}
	first := roles[0]
	if first.ExternalID != "" || first.SourceIdentity != "" || len(first.SessionTags) > 0 || first.PerCaller {
		w.impossible = "the first role is assumed with the platform's token, which carries no external id, source identity or session tags; put another role before it"
		return ""
	}
	t := w.platform(u.AWSWebIdentityAudience, awsAudience)
	w.step("STS (%s) gives credentials of %s for that token (AssumeRoleWithWebIdentity), for %s.", w.sts(), first.RoleARN, lasting(first.Duration))
	if w.cloud == config.GCP {
		w.need("%s: a trust policy with sts:AssumeRoleWithWebIdentity for the federated principal accounts.google.com (built into AWS), where accounts.google.com:oaud = %s and accounts.google.com:sub = %s",
			first.RoleARN, t.audience, t.subject)
	} else {
		w.need("the AWS account of the role: an IAM OpenID Connect provider whose URL is %s, with the audience as its client id", t.issuer)
		w.need("%s: a trust policy with sts:AssumeRoleWithWebIdentity for that provider, where its aud = %s and its sub = %s", first.RoleARN, t.audience, t.subject)
	}
	return w.assume(first.RoleARN, roles[1:])
}

// entrance says what a role named by a secret has to trust.
func (w *writer) entrance() string {
	if w.cloud == config.AWS {
		return "sts:AssumeRole for the function's role, and a trust policy of that role that names it"
	}
	return "a trust policy with sts:AssumeRoleWithWebIdentity for the token of this platform; describe it in aws_roles to have it explained here"
}

// assume explains the roles that follow, and returns the last identity.
func (w *writer) assume(from string, roles []config.AWSRole) string {
	for _, r := range roles {
		extra := ""
		allow := "sts:AssumeRole"
		if len(r.SessionTags) > 0 {
			extra += ", with the session tags " + list(slices.Sorted(maps.Keys(r.SessionTags)), "and")
			allow += ", sts:TagSession"
		}
		if r.SourceIdentity != "" {
			extra += ", with the source identity " + r.SourceIdentity
			allow += ", sts:SetSourceIdentity"
		}
		if r.PerCaller {
			extra += ", for each caller by itself, who is the source identity and in the session tag postern_caller_id"
			if len(r.SessionTags) == 0 {
				allow += ", sts:TagSession"
			}
			allow += ", sts:SetSourceIdentity"
		}
		condition := ""
		if r.ExternalID != "" {
			extra += ", with the external id"
			condition = ", where sts:ExternalId = " + r.ExternalID
		}
		w.step("With these credentials STS (%s) is asked for those of %s (AssumeRole) as the session %s, for %s%s.",
			w.sts(), r.RoleARN, cmp.Or(r.SessionName, "postern"), lasting(r.Duration), extra)
		w.need("%s: %s on %s", from, allow, r.RoleARN)
		w.need("%s: a trust policy that lets %s do that%s", r.RoleARN, from, condition)
		from = r.RoleARN
	}
	return from
}

// lasting is how long a session lives.
func lasting(d time.Duration) string { return length(cmp.Or(d, time.Hour)) }

func (w *writer) sts() string {
	if w.u.AWSSTSEndpoint != "" {
		return w.u.AWSSTSEndpoint
	}
	if w.cloud == config.AWS {
		return "in the function's region"
	}
	return "in " + region(w.u)
}

// permissions says what the signer has to be allowed at the service.
func (w *writer) permissions(signer, service string) {
	u := w.u
	if u.Provider != config.Bedrock {
		if service == "execute-api" {
			w.need("%s: execute-api:Invoke on the API, as arn:%s:execute-api:%s:ACCOUNT:API/STAGE/POST/PATH", signer, partition(u), region(u))
			return
		}
		w.need("%s: whatever the service %s demands for the request", signer, service)
		return
	}
	w.need("%s: bedrock:InvokeModel and, for streams, bedrock:InvokeModelWithResponseStream on", signer)
	for _, arn := range resources(u) {
		w.need("%s", part+arn)
	}
}

// resources are the ARNs that a policy has to name for the upstream's models. A profile leads to models in several regions, and
// the call is allowed only if all of them are
// (https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-prereq.html).
func resources(u *config.Upstream) []string {
	at := func(region, account, resource string) string {
		return fmt.Sprintf("arn:%s:bedrock:%s:%s:%s", partition(u), region, account, resource)
	}
	if len(u.Models) == 0 {
		return []string{
			at("*", "", "foundation-model/*"), at(region(u), "ACCOUNT", "inference-profile/*"),
			"(every model; name the models in the document to narrow this)",
		}
	}
	var arns []string
	add := func(arn string) {
		if !slices.Contains(arns, arn) {
			arns = append(arns, arn)
		}
	}
	for _, m := range u.Models {
		base, profile := foundation(m.Model)
		switch {
		case strings.HasPrefix(m.Model, "arn:") && strings.Contains(m.Model, "inference-profile/"):
			add(m.Model + " (and on each foundation model that this profile leads to, in each of its regions)")
		case strings.HasPrefix(m.Model, "arn:"):
			add(m.Model)
		case profile == "global":
			add(at(region(u), "ACCOUNT", "inference-profile/"+m.Model))
			add(at(region(u), "", "foundation-model/"+base))
			add(at("", "", "foundation-model/"+base))
		case profile != "":
			add(at(region(u), "ACCOUNT", "inference-profile/"+m.Model))
			add(at("*", "", "foundation-model/"+base) + " (the profile's destination regions)")
		default:
			add(at(region(u), "", "foundation-model/"+m.Model))
		}
	}
	return arns
}

// partition is the part of AWS that the upstream's region is in.
func partition(u *config.Upstream) string {
	switch {
	case strings.HasPrefix(u.AWSRegion, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(u.AWSRegion, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

// foundation splits the id of an inference profile into the model's and the geography's. The id of a model itself has a
// provider first, such as amazon or anthropic.
func foundation(id string) (model, geography string) {
	first, rest, ok := strings.Cut(id, ".")
	if ok && slices.Contains([]string{"us", "eu", "apac", "global", "us-gov", "jp", "au", "ca"}, first) {
		return rest, first
	}
	return id, ""
}
