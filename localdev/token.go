package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern-ai/postern/localdev/apitoken"
	"github.com/postern-ai/postern/shared/secrets"
)

const tokenUsage = `usage:
  go run ./localdev token create -key REF -name NAME [-groups A,B] [-for 90d] FILE
  go run ./localdev token revoke FILE ID-or-NAME
  go run ./localdev token list FILE
FILE is the list of API tokens; REF says where its key is, as env://NAME or file:///path`

// editTokens makes, revokes and lists API tokens. A new token is all that it
// writes to out, so that it can be piped to where it belongs.
func editTokens(args []string, out, log io.Writer) error {
	if len(args) == 0 {
		return errors.New(tokenUsage)
	}
	switch command, rest := args[0], args[1:]; {
	case slices.Contains([]string{"-h", "-help", "--help"}, command):
		return newFlags("token", tokenUsage, log).Parse(args)
	case command == "create":
		return createToken(rest, out, log)
	case command == "revoke" && len(rest) == 2:
		return revokeToken(rest[0], rest[1], log)
	case command == "list" && len(rest) == 1:
		if _, err := os.Stat(rest[0]); err != nil {
			return err // only create begins a list
		}
		list, err := apitoken.Load(rest[0])
		if err != nil {
			return err
		}
		_, err = io.WriteString(out, apitoken.Table(list, time.Now()))
		return err
	}
	return errors.New(tokenUsage)
}

// defaultLife is how long a token lives if nobody says.
const defaultLife = 90 * 24 * time.Hour

func createToken(args []string, out, log io.Writer) error {
	flags := newFlags("token create", tokenUsage, log)
	key := flags.String("key", "", "where the list's key is, as env://NAME or file:///path")
	request := apitoken.Request{Life: defaultLife}
	flags.StringVar(&request.Name, "name", "", "the `name` of the caller, which rules of the policy match as its subject")
	groups := flags.String("groups", "", "the caller's groups, with commas between them")
	flags.Func("for", "how long the token lives, such as 90d or 12h (default 90d)", func(s string) (err error) {
		request.Life, err = life(s)
		return err
	})
	path, err := parseAround(flags, tokenUsage, args)
	if err != nil {
		return err
	}
	if *key == "" {
		return errors.New(tokenUsage)
	}
	if *groups != "" {
		request.Groups = strings.Split(*groups, ",")
	}
	ref, err := secrets.ParseRef(*key)
	// What has been given in place of a reference may be the key itself.
	if err != nil || ref.Store != secrets.StoreEnv && ref.Store != secrets.StoreFile {
		return errors.New("-key takes a reference, env://NAME or file:///path")
	}
	stores := secrets.Stores{secrets.StoreEnv: secrets.Environment{}, secrets.StoreFile: secrets.Files{}}
	secret, err := stores.Read(context.Background(), ref)
	if err != nil {
		return fmt.Errorf("-key: %w", err)
	}
	list, err := apitoken.Load(path)
	if err != nil {
		return err
	}
	token, list, err := apitoken.Create(list, secret, request)
	if err != nil {
		return err
	}
	if err := apitoken.Save(path, list); err != nil {
		return err
	}
	line := list[len(list)-1]
	fmt.Fprintf(log, "Token %s of %s is valid until %s. This is the one time that it is shown. Store the list %s where api_tokens.credential_ref says; "+
		"gateways that run take it up within cache.secret_ttl.\n", line.ID, line.Name, line.Expires.Format(time.RFC3339), path)
	_, err = fmt.Fprintln(out, token.Reveal())
	return err
}

// life reads a length of time, in days too.
func life(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 || n > 10_000 {
			return 0, fmt.Errorf("%q is no number of days", s)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	return time.ParseDuration(s)
}

func revokeToken(path, idOrName string, log io.Writer) error {
	list, err := apitoken.Load(path)
	if err != nil {
		return err
	}
	list, n := apitoken.Revoke(list, idOrName)
	if n == 0 {
		return fmt.Errorf("%s has no token with the id or name %q", path, idOrName)
	}
	if err := apitoken.Save(path, list); err != nil {
		return err
	}
	fmt.Fprintf(log, "Revoked: %d. Store the list %s where api_tokens.credential_ref says; gateways that run take it up within cache.secret_ttl.\n", n, path)
	return nil
}
