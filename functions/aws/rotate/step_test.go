package main

import "testing"

func TestASecretIsFoundByEveryWayToReferToItAndByNoOther(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:"
	for _, test := range []struct {
		name, reference, id string
		want                bool
	}{
		{"its name", "team/key", arn + "team/key-Ab12Cd", true},
		{"its ARN", arn + "team/key-Ab12Cd", arn + "team/key-Ab12Cd", true},
		{"its ARN without the end", arn + "team/key", arn + "team/key-Ab12Cd", true},
		{"a name that ends like an ARN", "my-secret", arn + "my-secret-Ab12Cd", true},
		{"an ARN without the end, of such a name", arn + "my-secret", arn + "my-secret-Ab12Cd", true},
		{"another secret whose name is the beginning", arn + "my-secret", arn + "my-Ab12Cd", false},
		{"another secret whose name goes on", "my", arn + "my-secret-Ab12Cd", false},
		{"the same name in another region", arn + "key-Ab12Cd", "arn:aws:secretsmanager:us-east-1:123456789012:secret:key-Ab12Cd", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := means(test.reference, test.id); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
