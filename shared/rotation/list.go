package rotation

import (
	"context"
	"maps"
	"net/http"
	"net/url"
)

// maxPages bounds a list. With the 100 keys of a usual page it is more than any owner may have.
const maxPages = 1000

// Pages reads a list page by page. Read gets the cursor of the page to read, which is empty for the first one, and returns that of the next,
// which is empty after the last. A list that does not end is an error, as it would hold a rotation up for ever.
func Pages(op string, read func(cursor string) (next string, err error)) error {
	cursor := ""
	for range maxPages {
		next, err := read(cursor)
		if err != nil || next == "" {
			return err
		}
		if next == cursor {
			break
		}
		cursor = next
	}
	return &Error{Op: op, Reason: "the list of keys does not end", Err: ErrUnanswered}
}

// Listing is a list whose pages are {"data": [...], "has_more": true, "last_id": "..."}.
type Listing struct {
	Purpose
	// URL is the address of the list, without a query.
	URL string
	// Header and Query are sent along.
	Header http.Header
	Query  url.Values
	// After is the parameter that takes the last id of the page before.
	After string
}

// List reads a whole list.
func List[T any](ctx context.Context, remote *Remote, listing Listing) ([]T, error) {
	var all []T
	err := Pages(listing.Op, func(cursor string) (string, error) {
		query := url.Values{}
		maps.Copy(query, listing.Query)
		if cursor != "" {
			query.Set(listing.After, cursor)
		}
		reply, err := remote.Call(ctx, Call{Purpose: listing.Purpose, Method: http.MethodGet, URL: listing.URL + "?" + query.Encode(), Header: listing.Header})
		if err != nil {
			return "", err
		}
		var out struct {
			Data    []T    `json:"data"`
			HasMore bool   `json:"has_more"`
			LastID  string `json:"last_id"`
		}
		if err := reply.Decode(&out); err != nil {
			return "", err
		}
		if out.Data == nil || out.HasMore && out.LastID == "" {
			return "", reply.Malformed()
		}
		all = append(all, out.Data...)
		if !out.HasMore {
			return "", nil
		}
		return out.LastID, nil
	})
	return all, err
}
