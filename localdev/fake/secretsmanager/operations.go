package secretsmanager

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"time"
)

func (c *call) createSecret() (any, error) {
	var in struct {
		payload
		Name               string
		ClientRequestToken string
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	if err := c.allowed(in.Name); err != nil {
		return nil, err
	}
	if !nameForm.MatchString(in.Name) {
		return nil, &problem{Code: "ValidationException", Message: "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"}
	}
	text, binary, err := in.decode()
	if err != nil {
		return nil, err
	}
	old, exists := c.server.secrets[in.Name]
	if exists && old.deletion.IsZero() {
		if v, ok := old.versions[in.ClientRequestToken]; ok && !v.empty() && v.holds(text, binary) {
			return created(old, v.id), nil
		}
		return nil, &problem{Code: "ResourceExistsException", Message: "The operation failed because the secret " + in.Name + " already exists."}
	}
	if exists {
		return nil, &problem{Code: "InvalidRequestException", Message: "You can't create this secret because a secret with this name is already scheduled for deletion."}
	}
	made := c.server.newSecret(in.Name)
	id := ""
	if text != nil || binary != nil {
		v, _, err := made.add(in.ClientRequestToken, in.payload, c.now)
		if err != nil {
			return nil, err
		}
		made.attach(labelCurrent, v)
		id = v.id
	}
	c.server.secrets[in.Name] = made
	return created(made, id), nil
}

func created(s *secret, version string) any {
	return struct {
		ARN       string
		Name      string
		VersionID string `json:"VersionId,omitzero"`
	}{s.arn, s.name, version}
}

func (c *call) putSecretValue() (any, error) {
	var in struct {
		payload
		SecretID           string `json:"SecretId"`
		ClientRequestToken string
		VersionStages      []string
		RotationToken      *string
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	found, err := c.living(in.SecretID)
	if err != nil {
		return nil, err
	}
	if in.VersionStages != nil && (len(in.VersionStages) < 1 || len(in.VersionStages) > maxLabels || slices.ContainsFunc(in.VersionStages, badLabel)) {
		return nil, invalid("VersionStages must have 1 to 20 labels of 1 to 256 characters.")
	}
	if err := found.rotation.accepts(in.RotationToken); err != nil {
		return nil, err
	}
	first := !found.written()
	v, changed, err := found.add(in.ClientRequestToken, in.payload, c.now)
	if err != nil {
		return nil, err
	}
	if changed {
		labels := in.VersionStages
		if labels == nil {
			labels = []string{labelCurrent}
		}
		if first && !slices.Contains(labels, labelCurrent) {
			labels = append(slices.Clone(labels), labelCurrent)
		}
		for _, label := range labels {
			found.attach(label, v)
		}
	}
	return struct {
		ARN           string
		Name          string
		VersionID     string   `json:"VersionId"`
		VersionStages []string `json:",omitzero"`
	}{found.arn, found.name, v.id, sorted(v.labels)}, nil
}

func badLabel(label string) bool { return len(label) < 1 || len(label) > 256 }

// living finds a secret that is not scheduled for deletion.
func (c *call) living(id string) (*secret, error) {
	found, err := c.find(id)
	if err != nil {
		return nil, err
	}
	if !found.deletion.IsZero() {
		return nil, &problem{Code: "InvalidRequestException", Message: "You can't perform this operation on the secret because it was marked for deletion."}
	}
	return found, nil
}

func (c *call) getSecretValue() (any, error) {
	var in struct {
		SecretID     string `json:"SecretId"`
		VersionID    string `json:"VersionId"`
		VersionStage string
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	if in.VersionID != "" && (len(in.VersionID) < 32 || len(in.VersionID) > 64) {
		return nil, invalid("VersionId must have 32 to 64 characters.")
	}
	found, err := c.living(in.SecretID)
	if err != nil {
		return nil, err
	}
	if in.VersionID == "" && in.VersionStage == "" {
		in.VersionStage = labelCurrent
	}
	what, v := "VersionId: "+in.VersionID, found.versions[in.VersionID]
	if in.VersionID == "" {
		what, v = "staging label: "+in.VersionStage, found.labelled(in.VersionStage)
	}
	if v == nil || v.empty() {
		return nil, &problem{Code: "ResourceNotFoundException", Message: "Secrets Manager can't find the specified secret value for " + what}
	}
	if in.VersionStage != "" && !v.labels[in.VersionStage] {
		return nil, &problem{Code: "InvalidRequestException", Message: "You provided a VersionStage that is not associated to the provided VersionId."}
	}
	v.read, found.read = c.now, c.now
	reply := struct {
		ARN           string
		Name          string
		VersionID     string   `json:"VersionId"`
		SecretString  *string  `json:",omitzero"`
		SecretBinary  string   `json:",omitzero"`
		VersionStages []string `json:",omitzero"`
		CreatedDate   float64
	}{ARN: found.arn, Name: found.name, VersionID: v.id, SecretString: v.text, VersionStages: sorted(v.labels), CreatedDate: seconds(v.created)}
	if v.binary != nil {
		reply.SecretBinary = base64.StdEncoding.EncodeToString(v.binary)
	}
	return reply, nil
}

func (c *call) describeSecret() (any, error) {
	var in struct {
		SecretID string `json:"SecretId"`
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	found, err := c.find(in.SecretID)
	if err != nil {
		return nil, err
	}
	labels := map[string][]string{}
	for id, v := range found.versions {
		if len(v.labels) > 0 {
			labels[id] = sorted(v.labels)
		}
	}
	reply := struct {
		ARN                string
		Name               string
		CreatedDate        float64
		LastChangedDate    float64
		LastAccessedDate   float64             `json:",omitzero"`
		DeletedDate        float64             `json:",omitzero"`
		VersionIDsToStages map[string][]string `json:"VersionIdsToStages,omitzero"`
		rotationReply      `json:",inline"`
	}{
		ARN: found.arn, Name: found.name, CreatedDate: seconds(found.created), LastChangedDate: seconds(found.changed), VersionIDsToStages: labels,
		rotationReply: found.rotation.reply(),
	}
	if !found.read.IsZero() {
		reply.LastAccessedDate = seconds(found.read.Truncate(day))
	}
	if !found.deletion.IsZero() {
		reply.DeletedDate = seconds(found.deletion)
	}
	return reply, nil
}

func (c *call) listSecretVersionIDs() (any, error) {
	var in struct {
		SecretID          string `json:"SecretId"`
		MaxResults        *int
		NextToken         string
		IncludeDeprecated bool
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	found, err := c.find(in.SecretID)
	if err != nil {
		return nil, err
	}
	size := 100
	if in.MaxResults != nil {
		size = *in.MaxResults
	}
	if size < 1 || size > 100 {
		return nil, invalid("MaxResults must be from 1 to 100.")
	}
	var all []*version
	for _, v := range found.versions {
		if len(v.labels) > 0 || in.IncludeDeprecated {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b *version) int { return cmp.Or(b.created.Compare(a.created), cmp.Compare(a.id, b.id)) })
	start := 0
	if in.NextToken != "" {
		if start, err = strconv.Atoi(in.NextToken); err != nil || start < 0 || start > len(all) {
			return nil, &problem{Code: "InvalidNextTokenException", Message: "Invalid NextToken"}
		}
	}
	return versionList(found, all[start:], size, start), nil
}

func versionList(found *secret, rest []*version, size, start int) any {
	type entry struct {
		VersionID        string   `json:"VersionId"`
		VersionStages    []string `json:",omitzero"`
		CreatedDate      float64
		LastAccessedDate float64 `json:",omitzero"`
	}
	reply := struct {
		ARN       string
		Name      string
		Versions  []entry
		NextToken string `json:",omitzero"`
	}{ARN: found.arn, Name: found.name, Versions: []entry{}}
	for _, v := range rest[:min(size, len(rest))] {
		e := entry{VersionID: v.id, VersionStages: sorted(v.labels), CreatedDate: seconds(v.created)}
		if !v.read.IsZero() {
			// The service tells the day only.
			e.LastAccessedDate = seconds(v.read.Truncate(day))
		}
		reply.Versions = append(reply.Versions, e)
	}
	if len(rest) > size {
		reply.NextToken = strconv.Itoa(start + size)
	}
	return reply
}

func (c *call) updateSecretVersionStage() (any, error) {
	var in struct {
		SecretID            string `json:"SecretId"`
		VersionStage        string
		RemoveFromVersionID string `json:"RemoveFromVersionId"`
		MoveToVersionID     string `json:"MoveToVersionId"`
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	if badLabel(in.VersionStage) || in.RemoveFromVersionID == "" && in.MoveToVersionID == "" {
		return nil, invalid("You must provide VersionStage, and MoveToVersionId, RemoveFromVersionId or both.")
	}
	found, err := c.living(in.SecretID)
	if err != nil {
		return nil, err
	}
	if err := found.move(in.VersionStage, move{from: in.RemoveFromVersionID, to: in.MoveToVersionID}); err != nil {
		return nil, err
	}
	found.changed = c.now
	return struct{ ARN, Name string }{found.arn, found.name}, nil
}

// move says where a label is believed to be, and where it is to go.
type move struct{ from, to string }

func (s *secret) move(label string, m move) error {
	holder := s.labelled(label)
	target := s.versions[m.to]
	switch {
	case m.to != "" && target == nil:
		return &problem{Code: "ResourceNotFoundException", Message: "Secrets Manager can't find the specified secret version: " + m.to}
	case m.from != "" && s.versions[m.from] == nil:
		return &problem{Code: "ResourceNotFoundException", Message: "Secrets Manager can't find the specified secret version: " + m.from}
	case m.from != "" && (holder == nil || holder.id != m.from):
		return invalid(fmt.Sprintf("When you move staging label %s, if you specify RemoveFromVersionId, it must be set to the version that currently has the staging label %s.", label, label))
	case target != nil && holder != nil && holder != target && m.from == "":
		return invalid(fmt.Sprintf("The parameter RemoveFromVersionId can't be empty. Staging label %s is currently attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", label, holder.id))
	case target == nil && label == labelCurrent:
		return invalid("You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.")
	case target == nil:
		delete(holder.labels, label)
		return nil
	case !target.labels[label] && len(target.labels) >= maxLabels:
		return &problem{Code: "LimitExceededException", Message: "You can't attach more than 20 staging labels to a version."}
	}
	s.attach(label, target)
	return nil
}

func (c *call) deleteSecret() (any, error) {
	var in struct {
		SecretID                   string `json:"SecretId"`
		RecoveryWindowInDays       *int
		ForceDeleteWithoutRecovery bool
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	days := 30
	if in.RecoveryWindowInDays != nil {
		days = *in.RecoveryWindowInDays
	}
	if days < 7 || days > 30 || in.ForceDeleteWithoutRecovery && in.RecoveryWindowInDays != nil {
		return nil, invalid("RecoveryWindowInDays must be from 7 to 30, and excludes ForceDeleteWithoutRecovery.")
	}
	found, err := c.find(in.SecretID)
	if err != nil {
		return nil, err
	}
	found.deletion = c.now.Add(time.Duration(days) * day)
	if in.ForceDeleteWithoutRecovery {
		found.deletion = c.now
		delete(c.server.secrets, found.name)
	}
	return struct {
		ARN, Name    string
		DeletionDate float64
	}{found.arn, found.name, seconds(found.deletion)}, nil
}

func (c *call) restoreSecret() (any, error) {
	var in struct {
		SecretID string `json:"SecretId"`
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	found, err := c.find(in.SecretID)
	if err != nil {
		return nil, err
	}
	found.deletion = time.Time{}
	return struct{ ARN, Name string }{found.arn, found.name}, nil
}
