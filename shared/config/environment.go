package config

import (
	"fmt"
	"slices"
	"strings"
)

// FromEnvironment finds and loads the document of a deployed function: POSTERN_CONFIG holds it, or POSTERN_CONFIG_FILE says
// which file does. Without either it is Default. What the document leaves to the platform (a region, a project, an endpoint
// override) is filled in from the platform's own variables, and what a function of this cloud cannot do is refused. Every
// error is a *Problems.
func FromEnvironment(cloud Cloud, getenv func(string) string, readFile func(string) ([]byte, error)) (*Document, error) {
	inline, file := getenv("POSTERN_CONFIG"), getenv("POSTERN_CONFIG_FILE")
	switch {
	case inline != "" && file != "":
		return nil, one(Problem{
			Path: "POSTERN_CONFIG", Message: "POSTERN_CONFIG and POSTERN_CONFIG_FILE are both set", Remedy: "keep one of the two",
		})
	case inline == "" && file == "":
		return Default(cloud, getenv)
	}
	data := []byte(inline)
	if file != "" {
		var err error
		if data, err = readFile(file); err != nil {
			return nil, one(Problem{
				Path: "POSTERN_CONFIG_FILE", Value: file, Message: "the file cannot be read: " + err.Error(),
				Remedy: "check the path, and that the file is part of the deployed package",
			})
		}
	}
	root, problems := parse(data)
	if root.kind == kindInvalid {
		return nil, (&loader{problems: problems}).err()
	}
	l := &loader{problems: problems}
	if isUpstream(root) {
		// Whoever describes no callers leaves them to the platform, and says so as without a document.
		e := environment{getenv: getenv}
		e.admission(cloud)
		l.problems = append(l.problems, e.problems...)
	}
	if root.kind == kindText && file == "" {
		return nil, one(Problem{
			Path: "POSTERN_CONFIG", Message: "this is no document, but a single text",
			Remedy: "if it is the path of a file, set POSTERN_CONFIG_FILE to it instead",
		})
	}
	d, err := l.load(root)
	if err != nil {
		return nil, err
	}
	if problems := d.contradictions(getenv); len(problems) > 0 {
		return nil, &Problems{List: problems}
	}
	if err := d.settle(cloud, getenv); err != nil {
		return nil, err
	}
	return d, nil
}

// contradictions reports variables that say something else than the document, or nothing beside one.
func (d *Document) contradictions(getenv func(string) string) []Problem {
	var problems []Problem
	if models := getenv("POSTERN_MODELS"); models != "" {
		problems = append(problems, Problem{
			Path: "POSTERN_MODELS", Value: models, Message: "it has no effect, because there is a document", Remedy: "list the models in the document, and unset it",
		})
	}
	switch said := getenv("POSTERN_PLATFORM_IAM"); {
	case said == "", said == "true", said == "false" && !d.PlatformCallers:
	case said == "false":
		problems = append(problems, Problem{
			Path: "POSTERN_PLATFORM_IAM", Value: said, Message: "it contradicts the document, which says platform_callers: true",
			Remedy: "unset it if the platform's own IAM guards the function, or remove platform_callers",
		})
	default:
		problems = append(problems, notABool("POSTERN_PLATFORM_IAM", said))
	}
	return problems
}

func notABool(variable, said string) Problem {
	return Problem{Path: variable, Value: said, Message: "this is neither true nor false", Remedy: "set it to true or false"}
}

func one(p Problem) error { return &Problems{List: []Problem{p}} }

// Default is the document of a function that was given none: the cloud's own provider with the function's native identity,
// for the callers that the platform's IAM admits. On AWS the function sees who that was. On Google Cloud and Azure it does
// not, so there the deployment must say that the check is on, with POSTERN_PLATFORM_IAM=true.
func Default(cloud Cloud, getenv func(string) string) (*Document, error) {
	env := environment{getenv: getenv, variables: map[string]string{}}
	upstream := []field{env.literal("provider", string(nativeProvider(cloud)))}
	switch cloud {
	case AWS:
		upstream = env.add(upstream, "aws_region", "AWS_REGION", "AWS_DEFAULT_REGION")
		upstream = env.add(upstream, "base_url", "AWS_ENDPOINT_URL_BEDROCK_RUNTIME")
	case GCP:
		upstream = env.add(upstream, "project_id", "GOOGLE_CLOUD_PROJECT")
		upstream = env.add(upstream, "location_id", "GOOGLE_CLOUD_LOCATION")
		upstream = env.add(upstream, "base_url", "GOOGLE_VERTEX_BASE_URL")
	case Azure:
		upstream = env.add(upstream, "base_url", "AZURE_OPENAI_ENDPOINT")
		upstream = env.add(upstream, "azure_client_id", "AZURE_CLIENT_ID")
		env.variables["upstreams[0].azure_instance"] = "AZURE_OPENAI_ENDPOINT"
	default:
		return nil, one(Problem{Message: fmt.Sprintf("there is no cloud %q", cloud), Remedy: "use " + list([]Cloud{AWS, GCP, Azure}, "or")})
	}
	if models := env.models(); len(models.items) > 0 {
		upstream = append(upstream, field{key: "models", value: models})
	}
	env.admission(cloud)
	root := node{kind: kindMapping, fields: []field{
		{key: "platform_callers", value: node{kind: kindFlag, text: "true"}},
		{key: "upstreams", value: node{kind: kindList, items: []node{{kind: kindMapping, fields: upstream}}}},
	}}
	l := &loader{problems: env.problems}
	d, err := l.load(root)
	if err != nil {
		return nil, env.rename(err)
	}
	if err := d.settle(cloud, getenv); err != nil {
		return nil, err
	}
	return d, nil
}

// nativeProvider is the provider that runs in the same cloud.
func nativeProvider(cloud Cloud) Provider {
	switch cloud {
	case AWS:
		return Bedrock
	case GCP:
		return Vertex
	default:
		return AzureOpenAI
	}
}

// environment builds the nodes of a document out of variables, so that Default is checked by the same rules as a document.
type environment struct {
	cloud     Cloud
	getenv    func(string) string
	variables map[string]string // path in the document -> variable that it came from
	problems  []Problem
}

func (e *environment) literal(key, value string) field {
	return field{key: key, value: node{kind: kindText, text: value}}
}

// add appends the field with the first of the variables that is set.
func (e *environment) add(fields []field, key string, variables ...string) []field {
	for _, variable := range variables {
		if value := e.getenv(variable); value != "" {
			e.variables["upstreams[0]."+key] = variable
			return append(fields, e.literal(key, value))
		}
	}
	return fields
}

// admission reports a deployment that did not say that the platform's IAM admits the callers, where it has to.
func (e *environment) admission(cloud Cloud) {
	switch said := e.getenv("POSTERN_PLATFORM_IAM"); {
	case said == "true", said == "" && cloud == AWS:
	case said == "", said == "false":
		e.problems = append(e.problems, Problem{
			Path: "POSTERN_PLATFORM_IAM", Value: said, Message: "nobody could call this gateway, and it is never open to everybody",
			Remedy: "set it to true if the platform's own IAM guards the function, or describe the callers in a document (POSTERN_CONFIG)",
		})
	default:
		e.problems = append(e.problems, notABool("POSTERN_PLATFORM_IAM", said))
	}
}

func (e *environment) models() node {
	models := node{kind: kindList}
	for name := range strings.SplitSeq(e.getenv("POSTERN_MODELS"), ",") {
		if name = strings.TrimSpace(name); name != "" {
			e.variables[fmt.Sprintf("upstreams[0].models[%d]", len(models.items))] = "POSTERN_MODELS"
			models.items = append(models.items, node{kind: kindText, text: name})
		}
	}
	return models
}

// rename gives the problems of a document that was never written the names of the variables it was made of.
func (e *environment) rename(err error) error {
	problems, ok := err.(*Problems)
	if !ok {
		return err
	}
	for i, p := range problems.List {
		variable, ok := e.variables[p.Path]
		if !ok {
			continue
		}
		problems.List[i].Path = variable
		if variable == "AZURE_OPENAI_ENDPOINT" && p.Value == "" {
			problems.List[i].Remedy = "set it to the resource's address, such as https://NAME.openai.azure.com"
		}
	}
	return problems
}

// settle fills in what the document leaves to the platform and refuses what this cloud's functions cannot do.
func (d *Document) settle(cloud Cloud, getenv func(string) string) error {
	problems := slices.Concat(d.settleMFA(cloud, getenv), d.settleFronts(cloud), d.settleRedis(cloud, getenv))
	for i := range d.Upstreams {
		u := &d.Upstreams[i]
		cell, _ := cellOf(u.Provider, u.AuthType)
		path := fmt.Sprintf("upstreams[%d]", i)
		problems = append(problems, d.settleIdentity(u, path, environment{cloud: cloud, getenv: getenv})...)
		if !slices.Contains(cell.Clouds, cloud) && !u.reaches() {
			problems = append(problems, Problem{
				Path: path + ".auth_type", Value: string(u.AuthType),
				Message: fmt.Sprintf("for provider %s this is %s, and a function on %s has no such identity", u.Provider, cell.How, cloud),
				Remedy:  "give " + cell.Elsewhere + fmt.Sprintf(", or serve %q from a function on %s", u.Name, list(cell.Clouds, "or")),
			})
			continue
		}
		problems = append(problems, u.settle(path, cloud, getenv)...)
	}
	if len(problems) > 0 {
		return &Problems{List: problems}
	}
	return nil
}

// reaches reports whether the upstream describes how a function without the provider's own cloud proves itself.
func (u *Upstream) reaches() bool {
	switch {
	case u.CredentialRef != "" || len(u.AWSRoles) > 0 || u.GCPWorkloadIdentityProvider != "":
		return true
	default:
		return u.AzureTenantID != "" && u.AzureClientID != ""
	}
}

// settleIdentity takes the credentials from the environment that users of other gateways put there, if the document
// describes none.
func (d *Document) settleIdentity(u *Upstream, path string, e environment) []Problem {
	warn := func(name, message, remedy string) {
		d.Warnings = append(d.Warnings, Problem{Path: path + "." + name, Message: message, Remedy: remedy})
	}
	entra := u.AuthType == AzureAD || u.AuthType == Native && u.Provider == AzureOpenAI
	secret := e.getenv("AZURE_CLIENT_SECRET") != "" && u.AuthType == AzureAD && u.AzureFederatedTokenFile == ""
	var problems []Problem
	switch {
	case u.Provider == Vertex && u.AuthType == Native && u.CredentialRef == "" && e.getenv("GCP_SERVICE_ACCOUNT") != "":
		if u.GCPWorkloadIdentityProvider != "" {
			warn("gcp_workload_identity_provider", "the key in the variable GCP_SERVICE_ACCOUNT is not used", "unset it")
			break
		}
		u.CredentialRef = "env://GCP_SERVICE_ACCOUNT"
		warn("credential_ref", "a service account's key is taken from the variable GCP_SERVICE_ACCOUNT", "unset it to use the identity of the function, or put the key into a secret store and name it here")
	case entra && u.CredentialRef == "" && u.AzureFederatedTokenFile == "" && (e.cloud != Azure || secret):
		for _, f := range []struct {
			target         *string
			name, variable string
			valid          func(string) bool
		}{
			{&u.AzureTenantID, "azure_tenant_id", "AZURE_TENANT_ID", isTenant},
			{&u.AzureClientID, "azure_client_id", "AZURE_CLIENT_ID", isGUID},
		} {
			switch value := e.getenv(f.variable); {
			case *f.target != "" || value == "":
			case !f.valid(value):
				problems = append(problems, Problem{Path: f.variable, Message: "the value does not have the form of " + path + "." + f.name, Remedy: "correct it, or give " + f.name + " in the document"})
			default:
				*f.target = value
			}
		}
		if file := e.getenv("AZURE_FEDERATED_TOKEN_FILE"); file != "" && !secret && isPath(file) && u.AzureTenantID != "" && u.AzureClientID != "" {
			u.AzureFederatedTokenFile = file
		}
		if secret && u.AzureTenantID != "" && u.AzureClientID != "" {
			u.CredentialRef = "env://AZURE_CLIENT_SECRET"
			warn("credential_ref", "an app registration's secret is taken from the variable AZURE_CLIENT_SECRET", "unset it to use the identity of the function, or put the secret into a secret store and name it here")
		}
	}
	return problems
}

func (u *Upstream) settle(path string, cloud Cloud, getenv func(string) string) []Problem {
	var problems []Problem
	if len(u.AWSRoles) > 0 && cloud != AWS && u.CredentialRef == "" {
		if first := u.AWSRoles[0]; first.ExternalID != "" || first.SourceIdentity != "" || len(first.SessionTags) > 0 || first.PerCaller {
			problems = append(problems, Problem{
				Path: path + ".aws_roles[0]", Message: "outside AWS the first role is assumed with the platform's token, which carries no external_id, source_identity, session_tags or per_caller",
				Remedy: "give them to a role further on in the chain",
			})
		}
	}
	fill := func(target *string, name string, valid func(string) bool, variables ...string) {
		for _, variable := range variables {
			if value := getenv(variable); *target == "" && value != "" {
				if !valid(value) {
					problems = append(problems, Problem{Path: variable, Message: "the value does not have the form of " + path + "." + name, Remedy: "correct it, or give " + name + " in the document"})
					return
				}
				*target = strings.TrimRight(value, "/")
			}
		}
	}
	isEndpoint := func(s string) bool { _, problem := parseEndpoint(s); return problem == "" }
	switch u.Provider {
	case Bedrock:
		fill(&u.AWSRegion, "aws_region", isRegion, "AWS_REGION", "AWS_DEFAULT_REGION")
		fill(&u.BaseURL, "base_url", isEndpoint, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME")
		if u.AWSRegion == "" && len(problems) == 0 {
			problems = append(problems, Problem{Path: path + ".aws_region", Message: "the region is missing", Remedy: "give it in the document or set AWS_REGION"})
		}
	case CustomOpenAI:
		if u.AuthType == AWSSigV4 {
			fill(&u.AWSRegion, "aws_region", isRegion, "AWS_REGION", "AWS_DEFAULT_REGION")
			if u.AWSRegion == "" && len(problems) == 0 {
				problems = append(problems, Problem{Path: path + ".aws_region", Message: "the region is missing", Remedy: "give it in the document or set AWS_REGION"})
			}
		}
	case Vertex:
		fill(&u.ProjectID, "project_id", isProject, "GOOGLE_CLOUD_PROJECT")
		if u.ProjectID == "" && cloud != GCP && len(problems) == 0 {
			problems = append(problems, Problem{Path: path + ".project_id", Message: "the project is missing, and only on Google Cloud the platform knows it", Remedy: "give it in the document"})
		}
		fill(&u.BaseURL, "base_url", isEndpoint, "GOOGLE_VERTEX_BASE_URL")
	}
	return problems
}
