package contract

import (
	"bytes"
	"errors"
	"io"
	"math/big"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// A number is a JSON number as it was written: 1 and 1.0 differ to some vendors,
// and an int64 must survive unrounded.
type number string

// decode reads one JSON value: nil, bool, string, number, []any or
// map[string]any. Duplicate names and invalid UTF-8 are errors.
func decode(data []byte) (any, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("is empty where JSON is due")
	}
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	v, err := readValue(dec)
	if err != nil {
		return nil, errors.New("is not JSON: " + strings.TrimPrefix(err.Error(), "jsontext: "))
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return nil, errors.New("holds more than one JSON value")
	}
	return v, nil
}

func readValue(dec *jsontext.Decoder) (any, error) {
	token, err := dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case '{':
		return readObject(dec)
	case '[':
		list := []any{}
		for dec.PeekKind() != ']' {
			v, err := readValue(dec)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.ReadToken()
		return list, err
	case '"':
		return token.String(), nil
	case '0':
		return number(token.String()), nil
	case 't', 'f':
		return token.Bool(), nil
	default:
		return nil, nil
	}
}

func readObject(dec *jsontext.Decoder) (any, error) {
	object := map[string]any{}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		key := name.String()
		if object[key], err = readValue(dec); err != nil {
			return nil, err
		}
	}
	_, err := dec.ReadToken()
	return object, err
}

// decodeAt decodes a body and reports at its spot if it is no JSON.
func decodeAt(at spot, data []byte) (any, bool) {
	v, err := decode(data)
	if err != nil {
		at.report("%v", err)
		return nil, false
	}
	return v, true
}

// typeOf names the JSON type of a value.
func typeOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case number:
		return "number"
	case []any:
		return "array"
	default:
		return "object"
	}
}

// scalar shows a value that is no container.
func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case number:
		return string(v)
	case bool:
		return strconv.FormatBool(v)
	case nil:
		return "null"
	default:
		return ""
	}
}

// rational returns the exact value of a number. A number whose exponent would
// take memory out of proportion has none.
func (n number) rational() (*big.Rat, bool) {
	if _, exponent, ok := strings.Cut(strings.ToLower(string(n)), "e"); ok {
		if e, err := strconv.Atoi(exponent); err != nil || e > 400 || e < -400 {
			return nil, false
		}
	}
	return new(big.Rat).SetString(string(n))
}

// integer reports whether the number has no fraction.
func (n number) integer() bool {
	r, ok := n.rational()
	return ok && r.IsInt()
}
