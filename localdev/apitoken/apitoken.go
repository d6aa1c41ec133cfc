// Package apitoken keeps the list of API tokens: it makes tokens, revokes them and says which ones there are. The list holds no
// token, only how a gateway knows it again, so it can be kept where configuration is; what a gateway reads is a copy of it in a
// secret store.
//
// It must not know where that is, or who calls with a token.
package apitoken

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/postern-ai/postern/shared/config"
	"github.com/postern-ai/postern/shared/secrets"
)

// Request describes a token that is to be made.
type Request struct {
	Name   string
	Groups []string
	Life   time.Duration
}

// How many random bytes a token has: 80 bits to find it by and 256 to know it by.
const (
	idBytes     = 10
	secretBytes = 32
)

// Create returns a new token and the list with its line. The token is nowhere else: whoever loses it needs another.
func Create(list []config.APIToken, key secrets.Value, r Request) (token secrets.Value, longer []config.APIToken, err error) {
	secret, err := secrets.ParseKey(key)
	switch {
	case err != nil:
		return secrets.Value{}, nil, fmt.Errorf("the key of the list is %w", err)
	case !config.IsAPITokenName(r.Name):
		return secrets.Value{}, nil, errors.New("a token needs the name of its caller, in up to 128 printable characters without spaces")
	case r.Life <= 0 || r.Life > config.MostAPITokenLife:
		return secrets.Value{}, nil, fmt.Errorf("a token lives for at least a moment and at most %d days", config.MostAPITokenLife/(24*time.Hour))
	}
	id := random(idBytes)
	text := config.APITokenPrefix + id + "_" + random(secretBytes)
	now := time.Now().UTC().Truncate(time.Second)
	line := config.APIToken{
		ID: id, HMAC: config.APITokenMAC(secret, text), Name: r.Name, Groups: r.Groups, Created: now, Expires: now.Add(r.Life),
	}
	return secrets.NewValue(text), append(list[:len(list):len(list)], line), nil
}

// random returns random bytes in the alphabet of tokens.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}

// Revoke returns the list without the tokens of that id or name, and how many those were.
func Revoke(list []config.APIToken, idOrName string) (shorter []config.APIToken, revoked int) {
	for _, t := range list {
		if t.ID == idOrName || t.Name == idOrName {
			revoked++
			continue
		}
		shorter = append(shorter, t)
	}
	return shorter, revoked
}

// Table returns the list for people.
func Table(list []config.APIToken, now time.Time) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tGROUPS\tCREATED\tEXPIRES")
	for _, t := range list {
		end := t.Expires.Format(time.DateOnly)
		if !now.Before(t.Expires) {
			end += " (over)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", t.ID, t.Name, strings.Join(t.Groups, ","), t.Created.Format(time.DateOnly), end)
	}
	_ = w.Flush()
	return b.String()
}

// Load reads the list in a file. A file that is not there is an empty list.
func Load(path string) ([]config.APIToken, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return config.ParseAPITokens(text)
}

// Save writes the list in one step, so that a file that is being copied into a secret store is never half of one.
func Save(path string, list []config.APIToken) error {
	text, err := config.FormatAPITokens(list)
	if err != nil {
		return err
	}
	// Another run that is at it would lose a line, so it finds the file there.
	part := path + ".new"
	file, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		_ = os.Remove(part)
	}
	return err
}
