package brain

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// directives is what a user text asks for besides an answer.
type directives struct {
	text   string // the text without its directives
	say    string
	long   int
	slow   time.Duration
	reason int
	cached int
	filter bool
	fault  *Fault
}

// early reports whether the fault comes before any of the answer.
func (f *Fault) early() bool {
	return f.Kind == FaultStatus || f.Kind == FaultReset || f.Kind == FaultHang
}

// names are the directives that there are: other words behind a number sign
// are ordinary text.
const names = "say|long|slow|reason|cached|filter|blocked|fail|reset|hang|break|truncate|garbage|error"

func parse(said string) (directives, error) {
	var d directives
	pattern := regexp.MustCompile(`#(` + names + `)\(([^)]*)\)`)
	for _, m := range pattern.FindAllStringSubmatch(said, -1) {
		if err := d.apply(m[1], strings.TrimSpace(m[2])); err != nil {
			return d, err
		}
	}
	d.text = strings.Join(strings.Fields(pattern.ReplaceAllString(said, " ")), " ")
	return d, nil
}

func (d *directives) apply(name, argument string) (err error) {
	switch name {
	case "say":
		d.say = argument
	case "long":
		d.long, err = number(name, argument, maxWords)
	case "reason":
		d.reason, err = number(name, argument, maxWords)
	case "cached":
		d.cached, err = number(name, argument, maxWords)
	case "slow":
		if d.slow, err = time.ParseDuration(argument); err != nil {
			err = fmt.Errorf("#slow takes a duration such as 200ms, not %q", argument)
		}
	case "filter":
		d.filter = true
	case "blocked":
		d.fault = &Fault{Kind: FaultStatus, Status: 400, Message: BlockedPrompt}
	case "fail":
		d.fault, err = failure(argument)
	default:
		d.fault = &Fault{Kind: map[string]FaultKind{
			"reset": FaultReset, "hang": FaultHang, "break": FaultBreak,
			"truncate": FaultTruncate, "garbage": FaultGarbage, "error": FaultInStream,
		}[name]}
		if d.fault.Kind == FaultInStream {
			d.fault.Status, d.fault.Message = 500, "The model stopped with an internal error, as the prompt asked."
		}
	}
	return err
}

// failure reads the argument of #fail: a status, and perhaps seconds to wait.
func failure(argument string) (*Fault, error) {
	first, second, waits := strings.Cut(argument, ",")
	status, err := number("fail", first, 599)
	if err != nil || status < 400 {
		return nil, fmt.Errorf("#fail takes a status from 400 to 599 and perhaps seconds to wait, as in #fail(429,3), not %q", argument)
	}
	f := &Fault{Kind: FaultStatus, Status: status, Message: fmt.Sprintf("The prompt asked for the status %d.", status)}
	if waits {
		seconds, err := number("fail", second, 3600)
		if err != nil {
			return nil, err
		}
		f.RetryAfter = time.Duration(seconds) * time.Second
	}
	return f, nil
}

func number(name, argument string, most int) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(argument))
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("#%s takes a number up to %d, not %q", name, most, argument)
	}
	return n, nil
}
