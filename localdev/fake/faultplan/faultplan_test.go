package faultplan_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/postern-ai/postern/localdev/fake/fault"
	"github.com/postern-ai/postern/localdev/fake/faultplan"
)

func TestFaultsComeBeforeOrAfterTheEffect(t *testing.T) {
	t.Parallel()
	broken := fault.Fault{Status: http.StatusServiceUnavailable}
	tests := []struct {
		name        string
		plan        func(*faultplan.Plan)
		status      int
		effect      bool
		other       int
		otherEffect bool
	}{
		{"nothing is broken", func(*faultplan.Plan) {}, 200, true, 200, true},
		{"one operation before its effect", func(p *faultplan.Plan) { p.Before("Put").Set(broken) }, 503, false, 200, true},
		{"one operation after its effect", func(p *faultplan.Plan) { p.After("Put").Set(broken) }, 503, true, 200, true},
		{"all operations before their effect", func(p *faultplan.Plan) { p.Before("").Set(broken) }, 503, false, 503, false},
		{"all operations after their effect", func(p *faultplan.Plan) { p.After("").Set(broken) }, 503, true, 503, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var plan faultplan.Plan
			test.plan(&plan)
			call := func(operation string) (int, bool) {
				effect := false
				recorder := httptest.NewRecorder()
				plan.Serve(func(w http.ResponseWriter, _ *http.Request) { effect = true; w.Header().Set("A", "b") }, operation)(
					recorder, httptest.NewRequest(http.MethodGet, "/", nil))
				if recorder.Code == http.StatusOK && recorder.Header().Get("A") != "b" {
					t.Error("the reply has lost its header")
				}
				return recorder.Code, effect
			}
			if status, effect := call("Put"); status != test.status || effect != test.effect {
				t.Errorf("Put: got %d, effect %v", status, effect)
			}
			if status, effect := call("Get"); status != test.other || effect != test.otherEffect {
				t.Errorf("Get: got %d, effect %v", status, effect)
			}
			if got := plan.Before("").Calls(); got != 2 {
				t.Errorf("counted %d calls", got)
			}
		})
	}
}
