package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// received is a request as it has arrived.
type received struct {
	header http.Header
	body   []byte
	now    time.Time
}

// verify is how a service checks that a request is from whoever has the secret, and that it was not sent before.
func verify(secret string, r received) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return errors.New("the secret is not base64")
	}
	timestamp := r.header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || r.now.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return errors.New("the request is not of now")
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", r.header.Get("webhook-id"), timestamp, r.body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for signature := range strings.SplitSeq(r.header.Get("webhook-signature"), " ") {
		if hmac.Equal([]byte(signature), []byte(want)) {
			return nil
		}
	}
	return errors.New("the signature is wrong")
}

// Example shows how a service verifies a request, by the values that the test suite of Standard Webhooks has.
func Example() {
	header := http.Header{}
	header.Set("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek")
	header.Set("webhook-timestamp", "1614265330")
	header.Set("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
	r := received{header, []byte(`{"test": 2432232314}`), time.Unix(1614265330, 0)}
	fmt.Println(verify("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", r))
	r.body = []byte(`{"test": 2432232315}`)
	fmt.Println(verify("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", r))
	// Output:
	// <nil>
	// the signature is wrong
}
