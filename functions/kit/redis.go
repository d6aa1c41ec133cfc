package kit

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/identity"
	"github.com/postern-ai/postern/shared/identity/entra"
	"github.com/postern-ai/postern/shared/identity/sigv4"
	"github.com/postern-ai/postern/shared/redis"
	"github.com/postern-ai/postern/shared/secrets"
)

// redisServer connects to nothing yet.
func (w *wiring) redisServer(r *config.Redis) (*redis.Server, error) {
	options := redis.Options{URL: r.URL}
	if r.Authorities != "" {
		options.RootCAs = x509.NewCertPool()
		if !options.RootCAs.AppendCertsFromPEM([]byte(r.Authorities)) {
			return nil, errors.New("POSTERN_REDIS_CA holds no certificates in PEM")
		}
		// An instance of Memorystore is reached by an address of the network, and
		// has an authority of its own.
		options.Own = w.Cloud == config.GCP && r.AuthType == config.Native
	}
	login, err := w.redisLogin(r)
	if err != nil {
		return nil, err
	}
	if login.get != nil {
		options.Login = func(ctx context.Context) (redis.Login, error) {
			who, err := login.get(ctx)
			if err != nil {
				return redis.Login{}, errors.New(identity.Why(err))
			}
			return who, nil
		}
	}
	if login.rejected != nil {
		options.Rejected = func(who redis.Login) { login.rejected(secrets.NewValue(who.Password)) }
	}
	return redis.New(options)
}

// redisLogin is who logs in to a Redis server.
type redisLogin struct {
	// get is nil when nobody does.
	get func(context.Context) (redis.Login, error)
	// rejected is told of a password that the server did not take. It is nil when
	// each login has a new one.
	rejected func(password secrets.Value)
}

// redisLogin returns who logs in: the function itself, or a user with a stored
// password.
func (w *wiring) redisLogin(r *config.Redis) (redisLogin, error) {
	switch {
	case r.AuthType == config.Native:
		return w.nativeLogin(r)
	case r.CredentialRef == "":
		return redisLogin{}, nil
	}
	password, err := w.secret(r.CredentialRef)
	if err != nil {
		return redisLogin{}, fmt.Errorf("credential_ref: %w", err)
	}
	get := func(ctx context.Context) (redis.Login, error) {
		value, err := password.read(ctx)
		return redis.Login{User: r.Username, Password: value.Reveal()}, err
	}
	return redisLogin{get, password.rejected}, nil
}

func (w *wiring) nativeLogin(r *config.Redis) (redisLogin, error) {
	switch w.Cloud {
	case config.AWS:
		name, serverless := r.ElastiCache()
		login, err := sigv4.NewCacheLogin(sigv4.CacheLoginOptions{
			Identity: w.role(&config.Upstream{}), Region: cmp.Or(w.Getenv("AWS_REGION"), w.Getenv("AWS_DEFAULT_REGION")),
			Cache: name, Serverless: serverless, User: r.Username,
		})
		if err != nil {
			return redisLogin{}, err
		}
		return redisLogin{get: func(ctx context.Context) (redis.Login, error) {
			password, err := login.Password(ctx)
			return redis.Login{User: r.Username, Password: password.Reveal()}, err
		}}, nil
	case config.GCP:
		// The default user logs in, and the token says who that is
		// (https://cloud.google.com/memorystore/docs/valkey/about-iam-auth).
		return login(w.metadata(nil), func(secrets.Value) (string, error) { return "", nil }), nil
	case config.Azure:
		// The user is the object id of the identity that the token is about
		// (https://learn.microsoft.com/azure/redis/entra-for-authentication).
		source := entra.New(entra.Options{ClientID: w.Getenv("AZURE_CLIENT_ID"), Scope: entra.Redis})
		return login(source, func(token secrets.Value) (string, error) {
			var claims struct {
				Object string `json:"oid"`
			}
			if err := identity.UnverifiedClaims(token, &claims); err != nil || claims.Object == "" {
				return "", &identity.Error{Public: "the token of the managed identity names no object id, which is the user of the Redis server", Err: err}
			}
			return claims.Object, nil
		}), nil
	}
	return redisLogin{}, fmt.Errorf("a function on %s has no identity that a Redis server knows", w.Cloud)
}

// login has a token for its password.
func login(source identity.TokenSource, user func(token secrets.Value) (string, error)) redisLogin {
	kept := identity.NewCache(source, identity.CacheOptions{})
	get := func(ctx context.Context) (redis.Login, error) {
		token, err := kept.Token(ctx)
		if err != nil {
			return redis.Login{}, err
		}
		name, err := user(token.Value)
		return redis.Login{User: name, Password: token.Value.Reveal()}, err
	}
	return redisLogin{get, kept.Rejected}
}
