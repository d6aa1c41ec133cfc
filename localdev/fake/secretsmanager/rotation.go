package secretsmanager

import (
	"context"
	"crypto/rand"
	"regexp"
	"strconv"
	"time"
)

const (
	labelPending = "AWSPENDING"
	// attempts is how often an asynchronous invocation is made before it is given up
	// (https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html).
	attempts = 3
	// longest is how long a function may run.
	longest = 15 * time.Minute
)

// Event is what the rotation function gets
// (https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html).
type Event struct {
	// Step is createSecret, setSecret, testSecret or finishSecret.
	Step string
	// SecretID is the secret's ARN.
	SecretID string `json:"SecretId"`
	// ClientRequestToken is the id of the new version.
	ClientRequestToken string
	// RotationToken proves that the request of the function belongs to this rotation.
	RotationToken string
}

// rotation is what is set for the rotations of one secret, and the one that goes on.
type rotation struct {
	configured bool
	enabled    bool
	function   string
	rules      rules
	last       time.Time
	running    *run
}

// run is one rotation that goes on.
type run struct{ version, token string }

type rotationReply struct {
	RotationEnabled   *bool   `json:",omitzero"`
	RotationLambdaARN string  `json:",omitzero"`
	RotationRules     *rules  `json:",omitzero"`
	LastRotatedDate   float64 `json:",omitzero"`
	NextRotationDate  float64 `json:",omitzero"`
}

func (r rotation) reply() rotationReply {
	if !r.configured {
		return rotationReply{}
	}
	reply := rotationReply{RotationEnabled: &r.enabled, RotationLambdaARN: r.function, RotationRules: &r.rules}
	if !r.enabled || r.last.IsZero() {
		return reply
	}
	reply.LastRotatedDate = seconds(r.last)
	if period := r.rules.period(); period > 0 {
		reply.NextRotationDate = seconds(r.last.Add(period))
	}
	return reply
}

var rotationToken = regexp.MustCompile(`^[a-zA-Z0-9-]{36,256}$`)

// accepts returns an error for the rotation token of another rotation. Who sends none is known by the signature.
func (r rotation) accepts(token *string) error {
	switch {
	case token == nil:
		return nil
	case !rotationToken.MatchString(*token):
		return invalid("RotationToken must have 36 to 256 letters, digits and hyphens.")
	case r.running == nil || r.running.token != *token:
		return &problem{Code: "InvalidRequestException", Message: "The rotation token is not that of the rotation that is in progress."}
	}
	return nil
}

// rules are when a secret is rotated.
type rules struct {
	AutomaticallyAfterDays int64  `json:",omitzero"`
	Duration               string `json:",omitzero"`
	ScheduleExpression     string `json:",omitzero"`
}

var (
	durationForm = regexp.MustCompile(`^([1-9]|1[0-9]|2[0-4])h$`)
	rateForm     = regexp.MustCompile(`^rate\(([1-9][0-9]{0,2}) (hour|day)s?\)$`)
	// Windows open on the hour, and schedules repeat within a year
	// (https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_schedule.html).
	cronForm     = regexp.MustCompile(`^cron\(0 [0-9,*/-]+ [0-9,*?/L-]+ [0-9A-Z,*/-]+ [0-9A-Z,*?/L#-]+ \*\)$`)
	functionForm = regexp.MustCompile(`^arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{12}:function:[a-zA-Z0-9_-]+(:[a-zA-Z0-9_$-]+)?$`)
)

// period is the time between two rotations. It is zero for a schedule that has no fixed one.
func (r rules) period() time.Duration {
	if r.AutomaticallyAfterDays > 0 {
		return time.Duration(r.AutomaticallyAfterDays) * day
	}
	rate := rateForm.FindStringSubmatch(r.ScheduleExpression)
	if rate == nil {
		return 0
	}
	count, _ := strconv.Atoi(rate[1])
	if rate[2] == "hour" {
		return time.Duration(count) * time.Hour
	}
	return time.Duration(count) * day
}

func (r rules) check() error {
	switch {
	case r.AutomaticallyAfterDays != 0 && r.ScheduleExpression != "":
		return invalid("You can't specify both AutomaticallyAfterDays and ScheduleExpression.")
	case r.AutomaticallyAfterDays == 0 && r.ScheduleExpression == "":
		return invalid("You must specify AutomaticallyAfterDays or ScheduleExpression.")
	case r.AutomaticallyAfterDays < 0 || r.AutomaticallyAfterDays > 1000:
		return invalid("AutomaticallyAfterDays must be from 1 to 1000.")
	case r.ScheduleExpression != "" && !rateForm.MatchString(r.ScheduleExpression) && !cronForm.MatchString(r.ScheduleExpression):
		return invalid("The schedule expression is not valid.")
	case r.Duration != "" && !durationForm.MatchString(r.Duration):
		return invalid("The duration is not valid.")
	}
	period := r.period()
	window, _ := time.ParseDuration(r.Duration)
	if period > 0 && (period < 4*time.Hour || window > period) {
		return invalid("A secret is rotated every four hours at most, and the window must end before the next one.")
	}
	return nil
}

func (c *call) rotateSecret() (any, error) {
	var in struct {
		SecretID                       string `json:"SecretId"`
		ClientRequestToken             string
		RotationLambdaARN              string
		RotationRules                  *rules
		RotateImmediately              *bool
		ExternalSecretRotationMetadata []any
		ExternalSecretRotationRoleArn  string
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	found, err := c.living(in.SecretID)
	if err != nil {
		return nil, err
	}
	next := found.rotation
	if in.RotationLambdaARN != "" {
		next.function = in.RotationLambdaARN
	}
	if in.RotationRules != nil {
		next.rules = *in.RotationRules
	}
	if err := c.mayRotate(found, next, in.ClientRequestToken); err != nil {
		return nil, err
	}
	if in.ExternalSecretRotationMetadata != nil || in.ExternalSecretRotationRoleArn != "" {
		return nil, invalid("Managed external secrets are not part of this stand-in.")
	}
	next.configured, next.enabled = true, true
	found.rotation, found.changed = next, c.now
	reply := struct {
		ARN, Name string
		VersionID string `json:"VersionId,omitzero"`
	}{found.arn, found.name, in.ClientRequestToken}
	// Asked again, it has begun.
	if _, exists := found.versions[in.ClientRequestToken]; !exists {
		c.server.begin(found, in.ClientRequestToken, in.RotateImmediately == nil || *in.RotateImmediately)
	}
	return reply, nil
}

// mayRotate returns why a secret cannot be rotated in a new version of this id.
func (c *call) mayRotate(found *secret, next rotation, version string) error {
	if next.function == "" {
		return &problem{Code: "InvalidRequestException", Message: "No Lambda rotation function ARN is associated with this secret."}
	}
	if !functionForm.MatchString(next.function) {
		return invalid("RotationLambdaARN is not the ARN of a function.")
	}
	if err := next.rules.check(); err != nil {
		return err
	}
	if len(version) < 32 || len(version) > 64 {
		return invalid("ClientRequestToken must have 32 to 64 characters.")
	}
	if c.server.options.Rotate == nil {
		return &problem{Code: "AccessDeniedException", Message: "Secrets Manager cannot invoke the specified Lambda function. " +
			"Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com"}
	}
	if pending := found.labelled(labelPending); pending != nil && !pending.labels[labelCurrent] && pending.id != version {
		return &problem{Code: "InvalidRequestException", Message: "A previous rotation isn't complete. That rotation will be reattempted."}
	}
	return nil
}

// begin registers the new version, which has no value, and lets the function do the rest.
func (s *Server) begin(found *secret, id string, whole bool) {
	v := &version{id: id, created: time.Now(), labels: map[string]bool{}}
	found.versions[id] = v
	found.attach(labelPending, v)
	now := &run{version: id, token: rand.Text() + "-" + rand.Text()}
	found.rotation.running = now
	s.rotating.Go(func() {
		if whole {
			s.complete(found, now)
			return
		}
		// It only finds out whether the function can be used.
		_ = s.invoke(found, now, "testSecret")
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(found.versions, id)
		s.end(found, now)
	})
}

// complete goes through all steps, from the first one again if one fails.
func (s *Server) complete(found *secret, now *run) {
	for range attempts {
		failed := false
		for _, step := range []string{"createSecret", "setSecret", "testSecret", "finishSecret"} {
			if failed = s.invoke(found, now, step) != nil; failed {
				break
			}
		}
		if !failed {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if current := found.labelled(labelCurrent); current != nil && current.id == now.version {
		found.rotation.last = time.Now()
	}
	s.end(found, now)
}

// invoke calls the function for one step, unless the rotation has been cancelled.
func (s *Server) invoke(found *secret, now *run, step string) error {
	s.mu.Lock()
	cancelled := found.rotation.running != now
	s.mu.Unlock()
	if cancelled {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	return s.options.Rotate(ctx, Event{Step: step, SecretID: found.arn, ClientRequestToken: now.version, RotationToken: now.token})
}

func (s *Server) end(found *secret, now *run) {
	if found.rotation.running == now {
		found.rotation.running = nil
	}
}

// Wait returns when all rotations that have begun have ended, in whichever way.
func (s *Server) Wait() { s.rotating.Wait() }

func (c *call) cancelRotateSecret() (any, error) {
	var in struct {
		SecretID string `json:"SecretId"`
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	found, err := c.living(in.SecretID)
	if err != nil {
		return nil, err
	}
	reply := struct {
		ARN, Name string
		VersionID string `json:"VersionId,omitzero"`
	}{ARN: found.arn, Name: found.name}
	// The label stays where it is.
	if found.rotation.running != nil {
		reply.VersionID = found.rotation.running.version
	}
	found.rotation.enabled, found.rotation.running, found.changed = false, nil, c.now
	return reply, nil
}
