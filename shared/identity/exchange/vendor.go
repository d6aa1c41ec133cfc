package exchange

import (
	"cmp"
	"context"
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/postern-ai/postern/shared/identity"
)

// Vendor says where a vendor's token endpoint is, if it is not where it always is.
type Vendor struct {
	// TokenEndpoint replaces the vendor's own: an https URL, or http on this machine.
	TokenEndpoint string
	// HTTP sends the requests, as described at [Server].
	HTTP *http.Client
}

func (v Vendor) server(endpoint string) (*server, error) {
	return newServer(Server{TokenEndpoint: cmp.Or(v.TokenEndpoint, endpoint), HTTP: v.HTTP}, nil)
}

// trade is the exchange of a platform's token in a vendor's dialect: JSON both ways.
type trade struct {
	subject Secret
	header  http.Header
	body    func(subject string) any
	remedy  func(code string, subject *claims) string
}

func (s *server) trade(ctx context.Context, t trade) (*granted, error) {
	if err := s.resting(); err != nil {
		return nil, err
	}
	at, err := s.locate(ctx)
	if err != nil {
		return nil, err
	}
	subject, err := fetch(ctx, t.subject, "the platform's token")
	if err != nil {
		return nil, err
	}
	who := readClaims(subject)
	if !who.isJWT {
		return nil, &identity.Error{Public: "the platform's token is not a JSON Web Token, and no other kind can be exchanged"}
	}
	body, err := json.Marshal(t.body(subject.Reveal()))
	if err != nil {
		return nil, &identity.Error{Public: "the request for a token cannot be written", Err: err}
	}
	reply, err := s.post(ctx, &call{to: at, body: body, header: t.header, signed: true})
	if err != nil {
		return nil, err
	}
	if reply.status != ok {
		return nil, s.refused(reply, at, func(code string) string { return t.remedy(code, who) })
	}
	return parseGranted(reply, at.name)
}
