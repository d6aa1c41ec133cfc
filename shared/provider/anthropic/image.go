package anthropic

import (
	"net/url"
	"strings"

	"github.com/postern-ai/postern/shared/chat"
)

// urlMember is where the address of an image stands in its part.
const urlMember = "image_url.url"

// image reads a data URL or an https address, which Anthropic fetches itself.
// How large an image may be is for the API to say.
func image(u *chat.ImageURL, where place) (block, error) {
	switch u.Detail {
	case "", "auto":
	case "low", "high":
		return block{}, chat.UnsupportedValue(where.member("image_url.detail"), name, "it looks at all images alike. Leave it out.")
	default:
		at := where.member("image_url.detail")
		return block{}, chat.Invalid(at, chat.CodeInvalidValue, "Invalid value for '%s': supported values are 'auto', 'low' and 'high'.", at)
	}
	b := block{Type: blockImage, CacheControl: cacheOf(u.Unknown)}
	scheme, rest, _ := strings.Cut(u.URL, ":")
	var err error
	switch strings.ToLower(scheme) {
	case "data":
		b.Source, err = imageData(rest, where)
	case "https":
		if address, parseErr := url.Parse(u.URL); parseErr != nil || address.Host == "" || address.User != nil {
			at := where.member(urlMember)
			return block{}, chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': this is not the address of an image.", at)
		}
		b.Source = &source{Type: "url", URL: u.URL}
	default:
		err = chat.UnsupportedValue(where.member(urlMember), name, "an image is a data URL or a public https address. Send it as a data URL: data:image/png;base64,...")
	}
	return b, err
}

func imageData(dataURL string, where place) (*source, error) {
	head, data, ok := strings.Cut(dataURL, ",")
	media, isEncoded := strings.CutSuffix(strings.ToLower(head), ";base64")
	if !ok || !isEncoded || !isBase64(data) {
		at := where.member(urlMember)
		return nil, chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': a data URL of an image has the form data:image/png;base64,... with nothing but base64 behind the comma.", at)
	}
	switch media {
	case "image/png", "image/jpeg", "image/gif", "image/webp":
	case "image/jpg":
		media = "image/jpeg"
	default:
		return nil, chat.UnsupportedValue(where.member(urlMember), name, "it reads images of type image/png, image/jpeg, image/gif and image/webp. Convert the image.")
	}
	return &source{Type: "base64", MediaType: media, Data: data}, nil
}

// isBase64 reports whether s is base64 with its padding. It decodes nothing: an
// image may have megabytes.
func isBase64(s string) bool {
	body := strings.TrimRight(s, "=")
	if body == "" || len(s)%4 != 0 || len(s)-len(body) > 2 {
		return false
	}
	for i := range len(body) {
		c := body[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/') {
			return false
		}
	}
	return true
}
