package config

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
)

// Fronts are what stands in front of the functions and says something about callers that only it can know. Naming one here is
// a promise by the deployment: that it is there, and that nobody reaches the function past it. What it says then counts on its
// own cloud, and is deleted from requests everywhere else.
type Fronts struct {
	// ALB is an Application Load Balancer on AWS with mutual TLS in its verify mode.
	ALB *CertificateFront `json:"alb,omitzero"`
	// APIGateway is an HTTP API on AWS with a custom domain that does mutual TLS.
	APIGateway *CertificateFront `json:"api_gateway,omitzero"`
	// AppService is App Service on Azure with client certificates switched on, which it asks for and does not check.
	AppService *CertificateFront `json:"app_service,omitzero"`
	// IAP is Identity-Aware Proxy on Google Cloud.
	IAP *IAP `json:"iap,omitzero"`
}

// CertificateFront ends the TLS of clients and passes their certificates on.
type CertificateFront struct {
	// Admit says that a certificate alone names a caller. Otherwise certificates only show that tokens which are bound to one
	// are used by whom they were given to.
	Admit bool `json:"admit"`
	// ClientCA holds in PEM the authorities that certificates have to come from, by themselves or by way of each other. It is
	// always set for AppService. Elsewhere it comes on top of what the front has checked.
	ClientCA string `json:"client_ca,omitzero"`
}

// IAP admits the callers that Identity-Aware Proxy has let in.
type IAP struct {
	// Audiences is never empty: the assertions of one proxy are for one backend service or Cloud Run service.
	Audiences []string `json:"audiences"`
	// JWKSURI is where the proxy's keys are. When empty it is Google's.
	JWKSURI string `json:"jwks_uri,omitzero"`
}

// The issuers of callers that have no URL, as rules match them.
const (
	APITokenIssuer = "postern:api_token"
	// CertificateIssuer stands before the name of the front that has passed a certificate on.
	CertificateIssuer = "mtls:"
	// IAPIssuer is what stands in the proxy's assertions
	// (https://cloud.google.com/iap/docs/signed-headers-howto).
	IAPIssuer = "https://cloud.google.com/iap"
)

// The names of the fronts that pass certificates on.
const (
	FrontALB        = "alb"
	FrontAPIGateway = "api_gateway"
	FrontAppService = "app_service"
)

// frontCloud is where a front is.
func frontCloud(name string) Cloud {
	if name == FrontAppService {
		return Azure
	}
	return AWS
}

// CertificatesOn returns the fronts of a cloud that pass certificates on, by their names.
func (f *Fronts) CertificatesOn(cloud Cloud) map[string]*CertificateFront {
	all := f.Certificates()
	for name := range all {
		if frontCloud(name) != cloud {
			delete(all, name)
		}
	}
	return all
}

// Certificates returns the fronts that pass certificates on, by their names.
func (f *Fronts) Certificates() map[string]*CertificateFront {
	all := map[string]*CertificateFront{FrontALB: f.ALB, FrontAPIGateway: f.APIGateway, FrontAppService: f.AppService}
	for name, front := range all {
		if front == nil {
			delete(all, name)
		}
	}
	return all
}

// admit reports whether one of the fronts names callers.
func (f *Fronts) admit() bool {
	for _, front := range f.Certificates() {
		if front.Admit {
			return true
		}
	}
	return f.IAP != nil
}

// settleFronts reports what the fronts that the document declares leave without effect on this cloud.
func (d *Document) settleFronts(cloud Cloud) []Problem {
	var problems []Problem
	here := d.Fronts.CertificatesOn(cloud)
	admits := d.Fronts.IAP != nil && cloud == GCP
	for _, front := range here {
		admits = admits || front.Admit
	}
	if !admits && d.Fronts.admit() && len(d.Callers) == 0 && d.APITokens == nil && !d.PlatformCallers {
		problems = append(problems, Problem{
			Path: "fronts", Message: fmt.Sprintf("nobody could call this gateway, because none of these fronts is in front of a function on %s", cloud),
			Remedy: "declare one that is, or describe the callers",
		})
	}
	for i, c := range d.Callers {
		if c.CertificateBound && len(here) == 0 {
			problems = append(problems, Problem{
				Path: fmt.Sprintf("callers[%d].certificate_bound", i), Message: fmt.Sprintf("no front of a function on %s passes clients' certificates on, so no token could be used", cloud),
				Remedy: "declare one under fronts",
			})
		}
	}
	return problems
}

// issuers are those who vouch for callers, besides the platform.
func (d *Document) issuers() []string {
	var issuers []string
	for _, c := range d.Callers {
		issuers = append(issuers, c.Issuer)
	}
	if d.APITokens != nil {
		issuers = append(issuers, APITokenIssuer)
	}
	for name, front := range d.Fronts.Certificates() {
		if front.Admit {
			issuers = append(issuers, CertificateIssuer+name)
		}
	}
	if d.Fronts.IAP != nil {
		issuers = append(issuers, IAPIssuer)
	}
	return issuers
}

// fronts reads the section of that name.
func (l *loader) fronts(o object) Fronts {
	var f Fronts
	section, ok := o.field("fronts")
	if !ok {
		return f
	}
	s, ok := section.object()
	if !ok {
		return f
	}
	if len(s.fields) == 0 {
		section.wrong("it names no front", "name what stands in front of the functions or remove the section")
	}
	f.ALB = s.certificateFront(FrontALB)
	f.APIGateway = s.certificateFront(FrontAPIGateway)
	f.AppService = s.certificateFront(FrontAppService)
	if p, ok := s.field(FrontAppService); ok && f.AppService != nil && p.kind == kindMapping && f.AppService.ClientCA == "" {
		p.missing("client_ca", "App Service passes on any certificate that a client has made, so nobody would have checked it",
			"give the authorities that certificates come from, in PEM")
	}
	if p, ok := s.field("iap"); ok {
		if o, ok := p.object(); ok {
			f.IAP = l.iap(o)
		}
	}
	s.finish(func(name string) (string, bool) {
		switch name {
		case "easyauth", "easy_auth", "cloud_run", "function_url":
			return "say platform_callers: true", true
		case "apigateway", "api-gateway", "http_api":
			return "it is api_gateway", true
		}
		return "", false
	})
	return f
}

func (o object) certificateFront(name string) *CertificateFront {
	p, ok := o.field(name)
	if !ok {
		return nil
	}
	s, ok := p.object()
	if !ok {
		return nil
	}
	var f CertificateFront
	if p, ok := s.field("admit"); ok {
		f.Admit, _ = p.flag()
	}
	if p, ok := s.field("client_ca"); ok {
		p.hidden = true // a private key is easily pasted along
		if text, ok := p.string(); ok {
			if _, problem := ParseAuthorities(text); problem != "" {
				p.wrong(problem, "give the certificates of the authorities in PEM, one after the other")
			}
			f.ClientCA = text
		}
	}
	s.finish(nil)
	return &f
}

// ParseAuthorities reads the certificates of a ClientCA. The problem is "" when there is none.
func ParseAuthorities(text string) (authorities []*x509.Certificate, problem string) {
	rest := []byte(text)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if strings.Contains(block.Type, "PRIVATE KEY") {
			return nil, "there is a private key in it, which must never be in the document"
		}
		authority, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			return nil, "there is something in it that is no certificate"
		}
		if !authority.BasicConstraintsValid || !authority.IsCA {
			return nil, "one of the certificates is not an authority's"
		}
		authorities = append(authorities, authority)
	}
	if len(authorities) == 0 || strings.TrimSpace(string(rest)) != "" {
		return nil, "this is not certificates in PEM"
	}
	return authorities, ""
}

func (l *loader) iap(o object) *IAP {
	iap := IAP{Audiences: l.audiences(o)}
	for _, audience := range iap.Audiences {
		if !strings.HasPrefix(audience, "/projects/") {
			o.wrong("the audience "+audience+" is not one of Identity-Aware Proxy's",
				"write it as /projects/NUMBER/global/backendServices/ID or /projects/NUMBER/locations/REGION/services/NAME")
		}
	}
	if p, ok := o.field("jwks_uri"); ok {
		if _, ok := p.url(); ok {
			iap.JWKSURI = p.text
		}
	}
	o.finish(nil)
	return &iap
}
