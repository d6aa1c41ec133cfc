package bedrock

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/types"

	"github.com/postern-ai/postern/shared/chat"
)

// Bounds on images, from the reference of Message. It also bounds width and
// height, which the service checks itself.
const (
	maxImages    = 20
	maxImageSize = 3_932_160 // 3.75 MB
)

// image reads a data URL. The service fetches nothing from the web.
func image(u *chat.ImageURL, at string) (types.ImageBlock, error) {
	switch u.Detail {
	case "", "auto":
	case "low", "high":
		return types.ImageBlock{}, chat.UnsupportedValue(at+".detail", name, "it looks at all images alike. Leave it out.")
	default:
		return types.ImageBlock{}, chat.Invalid(at+".detail", chat.CodeInvalidValue, "Invalid value for '%s.detail': supported values are 'auto', 'low' and 'high'.", at)
	}
	at += ".url"
	scheme, rest, _ := strings.Cut(u.URL, ":")
	if !strings.EqualFold(scheme, "data") {
		return types.ImageBlock{}, chat.UnsupportedValue(at, name, "it fetches no images. Send the image itself, as a data URL: data:image/png;base64,...")
	}
	head, encoded, ok := strings.Cut(rest, ",")
	media, isEncoded := strings.CutSuffix(strings.ToLower(head), ";base64")
	if !ok || !isEncoded || encoded == "" {
		return types.ImageBlock{}, malformed(at)
	}
	form, ok := imageFormat(media)
	if !ok {
		return types.ImageBlock{}, chat.UnsupportedValue(at, name, "it reads images of type image/png, image/jpeg, image/gif and image/webp. Convert the image.")
	}
	if base64.StdEncoding.DecodedLen(len(encoded)) > maxImageSize+2 { // before the room for it is taken
		return types.ImageBlock{}, tooBig(at)
	}
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return types.ImageBlock{}, malformed(at)
	}
	if len(data) > maxImageSize {
		return types.ImageBlock{}, tooBig(at)
	}
	return types.ImageBlock{Format: form, Source: &types.ImageSourceMemberBytes{Value: data}}, nil
}

func malformed(at string) error {
	return chat.Invalid(at, chat.CodeInvalidValue, "Invalid '%s': a data URL of an image has the form data:image/png;base64,... with nothing but base64 behind the comma.", at)
}

func tooBig(at string) error {
	return chat.UnsupportedValue(at, name, fmt.Sprintf("an image has at most %d bytes. Make it smaller.", maxImageSize))
}

func imageFormat(media string) (types.ImageFormat, bool) {
	switch media {
	case "image/png":
		return types.ImageFormatPng, true
	case "image/jpeg", "image/jpg":
		return types.ImageFormatJpeg, true
	case "image/gif":
		return types.ImageFormatGif, true
	case "image/webp":
		return types.ImageFormatWebp, true
	}
	return "", false
}
