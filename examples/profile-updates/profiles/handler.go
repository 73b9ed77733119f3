// Package export_wit_world keeps profiles in step with what users change; its name is the one that
// the generated bindings import.
package export_wit_world

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	wit "go.bytecodealliance.org/pkg/wit/types"
	types "wit_component/wabbit_handler_types"
	publisher "wit_component/wabbit_publish_publisher"
	sql "wit_component/wabbit_sql_database"
	logging "wit_component/wasi_logging_logging"
)

// Update is the body of an event `user.profile.update`.
type Update struct {
	Change string `json:"change"`
	User   string `json:"user"`
	Email  string `json:"email"`
	Name   string `json:"name"`
}

// Answer is what became of it.
type Answer struct {
	Change string `json:"change"`
	User   string `json:"user"`
	Reason string `json:"reason,omitempty"`
}

type outcome = wit.Result[wit.Unit, types.Failure]

var ok = wit.Ok[wit.Unit, types.Failure](wit.Unit{})

const save = `
	INSERT INTO profiles (user_id, email, name) VALUES ($1, $2, $3)
	ON CONFLICT (user_id) DO UPDATE SET email = excluded.email, name = excluded.name`

// Handle is called once for each event.
func Handle(event types.Event) outcome {
	defer collect(len(event.Body))
	var update Update
	if err := json.Unmarshal(event.Body, &update); err != nil {
		return reject("not a profile: " + err.Error())
	}
	if update.Change == "" || update.User == "" || update.Email == "" {
		return reject("not a profile: it needs a change, a user and an email")
	}

	text := sql.MakeValueText
	saved := sql.Execute("profiles", save, []sql.Value{text(update.User), text(update.Email), text(update.Name)})
	if !saved.IsErr() {
		logging.Log(logging.Level_Info, "profiles", update.User+" by way of "+event.Exchange)
		return answer(update, "user.profile.accepted", "")
	}
	failed := saved.Err()
	if isTaken(failed) {
		// The business says no. That is an answer and no failure: it is published, and the event is
		// acknowledged.
		return answer(update, "user.profile.rejected", update.Email+" belongs to someone else")
	}
	return failure(failed)
}

func answer(update Update, key string, reason string) outcome {
	body, _ := json.Marshal(Answer{update.Change, update.User, reason})
	// Sent when this handler has returned ok, along with what it wrote into the database.
	sent := publisher.Publish("user_updates", key, body, []publisher.Property{
		publisher.MakePropertyContentType("application/json"),
		publisher.MakePropertyCorrelationId(update.Change),
	})
	if sent.IsErr() {
		return reject(fmt.Sprintf("the answer can't be published: %+v", sent.Err()))
	}
	return ok
}

func isTaken(failed sql.Error) bool {
	if failed.Tag() != sql.Error_Statement {
		return false
	}
	constraint := failed.Statement().Constraint
	return constraint.IsSome() && constraint.Some() == sql.Constraint_Unique
}

func failure(failed sql.Error) outcome {
	switch failed.Tag() {
	case sql.Error_Unavailable:
		// Comes again when the database is back, as often as that takes: no attempt is used up.
		return wit.Err[wit.Unit](types.MakeFailureRetry(types.Retry{Reason: failed.Unavailable()}))
	case sql.Error_Statement:
		return reject(failed.Statement().Message)
	default:
		return reject(fmt.Sprintf("%+v", failed))
	}
}

func reject(reason string) outcome {
	return wit.Err[wit.Unit](types.MakeFailureReject(reason))
}

// Go's collector reads the clock, which a component may not do while the host passes it arguments:
// a collection that begins there is a trap. So it does not begin by itself, but here, after every
// 16 MiB or so.
func init() { debug.SetGCPercent(-1) }

var used int

func collect(body int) {
	if used += 64<<10 + 16*body; used > 16<<20 {
		runtime.GC()
		used = 0
	}
}
