package secretsmanager

import (
	"crypto/rand"
	"math/big"
	"strings"
)

const maxPassword = 4096

func (c *call) getRandomPassword() (any, error) {
	in := struct {
		PasswordLength          int64
		ExcludeCharacters       string
		ExcludeNumbers          bool
		ExcludePunctuation      bool
		ExcludeUppercase        bool
		ExcludeLowercase        bool
		IncludeSpace            bool
		RequireEachIncludedType bool
	}{PasswordLength: 32, RequireEachIncludedType: true}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	if err := c.allowed("*"); err != nil {
		return nil, err
	}
	var kinds []string
	for _, kind := range []struct {
		excluded   bool
		characters string
	}{
		{in.ExcludeLowercase, "abcdefghijklmnopqrstuvwxyz"},
		{in.ExcludeUppercase, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
		{in.ExcludeNumbers, "0123456789"},
		{in.ExcludePunctuation, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"},
		{!in.IncludeSpace, " "},
	} {
		left := strings.Map(func(char rune) rune {
			if kind.excluded || strings.ContainsRune(in.ExcludeCharacters, char) {
				return -1
			}
			return char
		}, kind.characters)
		if left != "" {
			kinds = append(kinds, left)
		}
	}
	all := strings.Join(kinds, "")
	if all == "" || in.PasswordLength < 1 || in.PasswordLength > maxPassword || len(in.ExcludeCharacters) > maxPassword ||
		in.RequireEachIncludedType && in.PasswordLength < int64(len(kinds)) {
		return nil, invalid("There is no password of that length with these characters.")
	}
	password := make([]byte, in.PasswordLength)
	for i := range password {
		password[i] = pick(all)
	}
	if in.RequireEachIncludedType {
		// Each kind gets a place of its own, behind a start that is drawn.
		start := below(len(password))
		for i, kind := range kinds {
			password[(start+i)%len(password)] = pick(kind)
		}
	}
	return struct{ RandomPassword string }{string(password)}, nil
}

func pick(from string) byte { return from[below(len(from))] }

func below(n int) int {
	// The source never fails.
	drawn, _ := rand.Int(rand.Reader, big.NewInt(int64(n)))
	return int(drawn.Int64())
}
