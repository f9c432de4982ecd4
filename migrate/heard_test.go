package migrate

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
)

// attachments is a server whose instances never call: web-1 is attached, web-2 waits for its link, web-3 is nowhere, and
// web-4 is answered without an attachment.
type attachments struct{}

func (attachments) RoundTrip(r *http.Request) (*http.Response, error) {
	switch _, target, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "."); target {
	case "GetMetadataCounts":
		var q wire.GetMetadataCountsRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			return nil, err
		}
		known := wire.Known{InstanceName: q.InstanceName, Since: awsjson.At(q.StartTime.Time), Until: awsjson.At(noon), Complete: true}
		return answerOf(http.StatusOK, wire.GetMetadataCountsResult{Counts: []wire.MetadataCounts{{InstanceName: q.InstanceName, Counts: map[string]int64{}, Known: known}}}), nil
	case "GetCallers":
		return answerOf(http.StatusOK, wire.GetCallersResult{}), nil
	case "GetAttachments":
		return answerOf(http.StatusOK, wire.GetAttachmentsResult{Attachments: []wire.Attachment{
			{InstanceName: "web-1", State: "attached"}, {InstanceName: "web-2", State: "waiting", Reason: "there is no interface tap2"},
		}}), nil
	case "WaitForRefusals":
		return answerOf(http.StatusOK, wire.WaitForRefusalsResult{Instances: []wire.RefusedNumber{{InstanceName: "web-3"}, {InstanceName: "web-4", Refused: new(int64(0))}}}), nil
	}
	return answerOf(http.StatusOK, wire.GetOperationsResult{}), nil
}

// An instance whose guest nobody answers is not ready for its silence.
func TestUnheard(t *testing.T) {
	var all []Instance
	for _, name := range []string{"web-1", "web-2", "web-3", "web-4"} {
		all = append(all, Instance{Ref: Ref{Name: name}, CreatedAt: noon.AddDate(-1, 0, 0), Options: Options{Tokens: optional}})
	}
	p := NewOpenIMDS(newClient(t, attachments{}))
	found := Status(t.Context(), p, all, DefaultCriteria(), noon)
	for i, want := range []string{"", "its attachment is waiting, there is no interface tap2", "it is not attached", ""} {
		one := Assess(t.Context(), p, all[i], DefaultCriteria(), noon)
		if a := found[i]; (a.Verdict == Ready) != (want == "") || !strings.Contains(a.Reason, want) || !strings.Contains(a.Unheard, want) || one.Reason != a.Reason || one.Verdict != a.Verdict {
			t.Errorf("%s: %s: %s (alone %s: %s)", a.Name, a.Verdict, a.Reason, one.Verdict, one.Reason)
		}
	}
}
