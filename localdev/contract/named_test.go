package contract_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestValuesAreCheckedAgainstTypesByName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, description, kind, value, want string }{
		{"a value of a closed set", "sqs", "QueueAttributeName", `"VisibilityTimeout"`, ""},
		{"a value outside a closed set", "secretsmanager", "FilterNameStringType", `"colour"`,
			"FilterNameStringType: value must be one of all, description, name, owning-service, primary-region, tag-key, tag-value, is \"colour\""},
		{"a text that is too long", "secretsmanager", "TagKeyType", `""`, "TagKeyType: value must have at least 1 characters, has 0"},
		{"a number out of bounds", "sts", "roleDurationSecondsType", `60`, "roleDurationSecondsType: value must be at least 900"},
		{"a text of a pattern", "sts", "roleSessionNameType", `"a b"`, "roleSessionNameType: value must match ^(?:[\\w+=,.@-]*)$"},
		{"a whole structure", "sts", "Tag", `{"Key": "team"}`, "Tag: value.Value is required"},
		{"no shape of the model", "sts", "Colour", `"red"`, "the model has no shape Colour"},
		{"what is no JSON", "sts", "Tag", `{`, "Tag: value is not JSON: unexpected EOF after offset 1"},
		{"a property of a schema", "gcs", "Bucket.projectNumber", `"12"`, ""},
		{"a property of another form", "gcs", "Bucket.projectNumber", `"twelve"`, "Bucket.projectNumber: value must be a whole number"},
		{"an element of a list", "vertex", "GoogleCloudAiplatformV1GenerationConfig.responseModalities", `"SMELL"`,
			"GoogleCloudAiplatformV1GenerationConfig.responseModalities: value must be one of AUDIO, IMAGE, MODALITY_UNSPECIFIED, TEXT, VIDEO, is \"SMELL\""},
		{"no property of the schema", "gcs", "Bucket.colour", `"red"`, "the description has no type Bucket.colour"},
		{"a whole schema", "gcs", "Bucket", `{"name": "b", "colour": "red"}`,
			"Bucket: value.colour is no field of the message; unknown fields are refused"},
		{"no schema", "gcs", "Pail.name", `"red"`, "the description has no type Pail.name"},
		{"a description without names", "openai", "Model", `"red"`, "the description has no types to ask for by name, such as Model"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			problems, err := description(t, c.description).Value(c.kind, []byte(c.value))
			got := ""
			for _, p := range problems {
				got += p.String()
			}
			if err != nil {
				got += err.Error()
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestOperationsHaveTheirNames(t *testing.T) {
	t.Parallel()
	for name, operation := range map[string]string{"sts": "AssumeRole", "gcs": "storage.buckets.insert"} {
		if all := description(t, name).Operations(); !slices.Contains(all, operation) || !slices.IsSorted(all) {
			t.Errorf("%s has the operations %v", name, all)
		}
	}
	if all := description(t, "openai").Operations(); all != nil {
		t.Errorf("openai has the operations %v", all)
	}
}
