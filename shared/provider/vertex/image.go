package vertex

import (
	"net/url"
	"path"
	"strings"

	"github.com/postern-ai/postern/shared/chat"
)

// image reads an image part: a data URL, an object in Cloud Storage, or a
// public https address, which Google fetches itself.
func (c *conversation) image(u *chat.ImageURL, at string) (part, error) {
	p, err := imageData(u.URL, at+".url")
	if err != nil {
		return part{}, err
	}
	p.MediaResolution, err = c.resolution(u.Detail, at+".detail")
	return p, err
}

func (c *conversation) resolution(detail, at string) (*mediaResolution, error) {
	switch {
	case detail == "" || detail == "auto":
		return nil, nil
	case detail != "low" && detail != "high":
		return nil, chat.Invalid(at, chat.CodeInvalidValue, "Invalid value for '%s': supported values are 'auto', 'low' and 'high'.", at)
	case !c.generation.mediaResolution():
		return nil, chat.UnsupportedValue(at, name, "models before Gemini 3 look at all images alike. Leave it out.")
	case detail == "low":
		return &mediaResolution{"MEDIA_RESOLUTION_LOW"}, nil
	}
	return &mediaResolution{"MEDIA_RESOLUTION_HIGH"}, nil
}

func imageData(address, at string) (part, error) {
	scheme, rest, _ := strings.Cut(address, ":")
	switch strings.ToLower(scheme) {
	case "data":
		kind, data, ok := strings.Cut(rest, ",")
		media, isEncoded := strings.CutSuffix(strings.ToLower(kind), ";base64")
		if media == "image/jpg" { // as many clients call it, and the service does not
			media = "image/jpeg"
		}
		if !ok || !isEncoded || !isImageType(media) || data == "" || !isBase64(data) {
			return part{}, chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': a data URL of an image has the form data:image/png;base64,... with nothing but base64 behind the comma.", at)
		}
		return part{InlineData: &blob{MimeType: media, Data: data}}, nil
	case "gs", "https":
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.User != nil {
			return part{}, chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': this is not the address of an image.", at)
		}
		media := mediaType(u.Path)
		if media == "" {
			return part{}, chat.UnsupportedValue(at, name, "the address does not end in .png, .jpg, .jpeg, .webp, .heic or .heif, which tells the kind of image. Send the image as a data URL.")
		}
		return part{FileData: &file{MimeType: media, FileURI: address}}, nil
	}
	return part{}, chat.UnsupportedValue(at, name, "an image is a data URL, an object in Cloud Storage (gs://...) or a public https address. Send it as a data URL.")
}

// mediaType knows the images that Gemini takes by the endings of their names.
// The API wants a type with every address and does not find it out itself.
func mediaType(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".png":
		return "image/png"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".webp":
		return "image/webp"
	case ".heic":
		return "image/heic"
	case ".heif":
		return "image/heif"
	}
	return ""
}

func isImageType(s string) bool {
	kind, ok := strings.CutPrefix(s, "image/")
	return ok && len(kind) <= 64 && consists(kind, func(c byte) bool {
		return isSmall(c) || isDigit(c) || c == '-' || c == '+' || c == '.'
	})
}

// isBase64 reports whether s is base64 of either alphabet, padded or not. It
// decodes nothing: an image may have megabytes.
func isBase64(s string) bool {
	body := strings.TrimRight(s, "=")
	padding := len(s) - len(body)
	if len(body)%4 == 1 || padding > 0 && (padding > 2 || len(s)%4 != 0) {
		return false
	}
	for i := range len(body) {
		c := body[i]
		if !(isSmall(c) || isLarge(c) || isDigit(c) || c == '+' || c == '/' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}
