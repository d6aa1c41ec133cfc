package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/postern-ai/postern/localdev/fake/oidc"
	"github.com/postern-ai/postern/localdev/stage"
	"github.com/postern-ai/postern/shared/audit"
	"github.com/postern-ai/postern/shared/sse"
)

// demo has one chat with every cloud's gateway, plain and streamed, and says
// who signed the calls; then it rotates each cloud's stored key. Any failure is
// an error.
func demo(ctx context.Context, o stage.Options, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	fmt.Fprintln(out, "Building the functions; the first time takes a minute or two.")
	s, err := stage.Start(ctx, o)
	if err != nil {
		return err
	}
	defer s.Close()
	token, err := s.Token(oidc.Token{Subject: "demo"})
	if err != nil {
		return err
	}
	for _, cloud := range stage.Clouds() {
		if err := (chat{stage: s, cloud: cloud, token: token}).show(ctx, out); err != nil {
			return fmt.Errorf("%s: %w", cloud, err)
		}
	}
	fmt.Fprintln(out, "\nEvery answer came through a function that holds no key. The key that is stored for one more model is rotated:")
	for _, cloud := range stage.Clouds() {
		if err := (chat{stage: s, cloud: cloud, token: token}).rotate(ctx, out); err != nil {
			return fmt.Errorf("%s: rotation: %w", cloud, err)
		}
	}
	return showEvents(s, out)
}

// rotate has the stored key of the cloud replaced, and chats with the next one.
func (d chat) rotate(ctx context.Context, out io.Writer) error {
	text, err := d.stage.Rotate(ctx, d.cloud, stage.Command{Verb: "force", Credential: stage.StoredKey, Actor: "demo"})
	if err != nil {
		return err
	}
	var report struct {
		Results []struct{ Outcome, Phase, Detail string }
	}
	if err := json.Unmarshal(text, &report); err != nil {
		return err
	}
	if len(report.Results) != 1 || report.Results[0].Outcome != "rotated" {
		return fmt.Errorf("the key is not rotated: %s", text)
	}
	fmt.Fprintf(out, "\n%s  %s: %s, and in its %s now: %s\n", strings.ToUpper(d.cloud), stage.StoredKey, report.Results[0].Outcome, report.Results[0].Phase, report.Results[0].Detail)
	var status []struct {
		Current, Previous struct {
			Key string `json:"key_id"`
		}
		Ends time.Time `json:"revoke_after"`
	}
	if text, err = d.stage.Rotate(ctx, d.cloud, stage.Command{Verb: "status"}); err != nil {
		return err
	}
	if err := json.Unmarshal(text, &status); err != nil || len(status) != 1 {
		return fmt.Errorf("the status is %s", text)
	}
	fmt.Fprintf(out, "  current   %s\n  previous  %s, until %s\n", status[0].Current.Key, status[0].Previous.Key, status[0].Ends.Format(time.RFC3339))
	d.model = stage.StoredModel
	if _, err := d.plain(ctx); err != nil {
		return err
	}
	calls := d.stage.Calls()
	signer := calls[len(calls)-1].Signer
	if !strings.Contains(signer, status[0].Current.Key) {
		return fmt.Errorf("the model was called with the %s", signer)
	}
	fmt.Fprintf(out, "  a chat with %s was signed by the %s\n", d.model, signer)
	return nil
}

// showEvents prints the audit events, of which each cloud has one at least.
func showEvents(s *stage.Stage, out io.Writer) error {
	events := s.Events()
	if len(events) < len(stage.Clouds()) {
		return fmt.Errorf("the buses have %d events", len(events))
	}
	fmt.Fprintln(out, "\nThe events on the buses of the clouds:")
	for _, event := range events {
		text, err := stage.EncodeEvents([]audit.Event{event})
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "  %s\n", bytes.Trim(text, "[]\n"))
	}
	return nil
}

// chat is the demo of one cloud.
type chat struct {
	stage        *stage.Stage
	cloud, token string
	// model is the one that is called. Empty means the cloud's own.
	model string
}

const question = "Which cloud answers me, and who pays?"

func (d chat) show(ctx context.Context, out io.Writer) error {
	fmt.Fprintf(out, "\n%s  %s/v1  %s\n", strings.ToUpper(d.cloud), d.stage.Gateways[d.cloud], stage.Model(d.cloud))
	before := len(d.stage.Calls())
	plain, err := d.plain(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "  plain     %s\n", plain)
	streamed, chunks, err := d.streamed(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "  streamed  %s (%d chunks)\n", streamed, chunks)
	calls := d.stage.Calls()[before:]
	if len(calls) != 2 {
		return fmt.Errorf("the model service saw %d calls instead of 2", len(calls))
	}
	for _, c := range calls {
		if c.Signer == "" {
			return errors.New("the model service does not know who signed a call")
		}
	}
	fmt.Fprintf(out, "  signed by %s, calling %s on %s\n", calls[1].Signer, calls[1].Model, calls[1].Service)
	return nil
}

func (d chat) post(ctx context.Context, stream bool) (*http.Response, error) {
	body, err := json.Marshal(map[string]any{
		"model": cmp.Or(d.model, stage.Model(d.cloud)), "stream": stream,
		"messages": []map[string]string{{"role": "user", "content": question}},
	})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.stage.Gateways[d.cloud]+"/v1/chat/completions", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return nil, fmt.Errorf("the gateway answered %s: %s", resp.Status, text)
	}
	return resp, nil
}

// completion is what the demo reads of an answer or a chunk.
type completion struct {
	Choices []struct {
		Message, Delta struct{ Content string }
	}
	Error *struct{ Message string }
}

func (d chat) plain(ctx context.Context) (string, error) {
	resp, err := d.post(ctx, false)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer completion
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return "", err
	}
	if len(answer.Choices) != 1 || answer.Choices[0].Message.Content == "" {
		return "", errors.New("the answer is empty")
	}
	return answer.Choices[0].Message.Content, nil
}

func (d chat) streamed(ctx context.Context) (text string, chunks int, err error) {
	resp, err := d.post(ctx, true)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	events := sse.NewReader(resp.Body, 0)
	for {
		event, err := events.Next()
		if err != nil {
			return "", 0, fmt.Errorf("the stream ended without [DONE]: %w", err)
		}
		if string(event.Data) == "[DONE]" {
			break
		}
		var chunk completion
		if err := json.Unmarshal(event.Data, &chunk); err != nil {
			return "", 0, err
		}
		if chunk.Error != nil {
			return "", 0, errors.New(cmp.Or(chunk.Error.Message, "the stream ended with an error"))
		}
		chunks++
		for _, c := range chunk.Choices {
			text += c.Delta.Content
		}
	}
	if text == "" || chunks < 3 {
		return "", 0, fmt.Errorf("the answer did not come in pieces: %d chunks", chunks)
	}
	return text, chunks, nil
}
