package keyhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-ai/postern/localdev/fake/keyhook"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func request(method, id, body string) *http.Request {
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + timestamp + "." + body))
	r := httptest.NewRequest(method, "/", strings.NewReader(body))
	r.Header = http.Header{
		"Content-Type": {"application/json"}, "Webhook-Id": {id}, "Webhook-Timestamp": {timestamp},
		"Webhook-Signature": {"v1a,AAAA v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))},
	}
	return r
}

func TestWhatTheContractRefusesIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := keyhook.New(keyhook.Options{Secrets: func() []string { return []string{"whsec_!", secret} }, Lacks: []string{"recover"}})
		const begin = `{"version":1,"sent_at":"2000-01-01T00:00:00Z","action":`
		for _, test := range []struct {
			name string
			edit func(*http.Request)
			body string
			want int
		}{
			{"all is well", nil, begin + `"find","prefix":""}`, 200},
			{"another method", func(r *http.Request) { r.Method = http.MethodPut }, begin + `"find","prefix":""}`, 405},
			{"no signature", func(r *http.Request) { r.Header.Del("Webhook-Signature") }, begin + `"find","prefix":""}`, 401},
			{"no id", func(r *http.Request) { r.Header.Del("Webhook-Id") }, begin + `"find","prefix":""}`, 401},
			{"another id", func(r *http.Request) { r.Header.Set("Webhook-Id", "b") }, begin + `"find","prefix":""}`, 401},
			{"another time", func(r *http.Request) { r.Header.Set("Webhook-Timestamp", "946684801") }, begin + `"find","prefix":""}`, 401},
			{"another version", nil, `{"version":2,"sent_at":"2000-01-01T00:00:00Z","action":"find","prefix":""}`, 400},
			{"a body of another time", nil, `{"version":1,"sent_at":"2000-01-01T00:06:00Z","action":"find","prefix":""}`, 400},
			{"an unknown member", nil, begin + `"find","prefix":"","postfix":""}`, 400},
			{"an unknown action", nil, begin + `"rename"}`, 501},
			{"an action that it lacks", nil, begin + `"recover","key_id":"a"}`, 501},
			{"no prefix", nil, begin + `"find"}`, 400},
			{"an order without a cycle", nil, begin + `"create","name":"a","credential":"c"}`, 400},
			{"an order with a value of one's own", nil, begin + `"create","name":"a","credential":"c","cycle":"1","value":"v"}`, 400},
			{"no such key", nil, begin + `"revoke","key_id":"a"}`, 404},
			{"an order", nil, begin + `"create","name":"a","credential":"c","cycle":"1"}`, 200},
		} {
			r := request(http.MethodPost, "a", test.body)
			if test.edit != nil {
				test.edit(r)
			}
			recorder := httptest.NewRecorder()
			server.ServeHTTP(recorder, r)
			if recorder.Code != test.want {
				t.Errorf("%s: got %d %s, want %d", test.name, recorder.Code, recorder.Body, test.want)
			}
		}
		late := request(http.MethodPost, "a", begin+`"find","prefix":""}`)
		time.Sleep(5*time.Minute + time.Second)
		recorder := httptest.NewRecorder()
		server.ServeHTTP(recorder, late)
		if recorder.Code != http.StatusUnauthorized {
			t.Errorf("a request of five minutes ago: got %d", recorder.Code)
		}
	})
}
