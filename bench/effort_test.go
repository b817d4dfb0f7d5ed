package main

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"
)

func TestContestantsTakeTurnsAndTheFirstRoundDoesNotCount(t *testing.T) {
	var turns string
	microseconds := func(name string, each ...int) contestant {
		return func(_ context.Context, operations int) (effort, error) {
			turns += name
			took := time.Duration(each[0]*operations) * time.Microsecond
			each = each[1:]
			return effort{took, 2 * took}, nil
		}
	}
	got, err := race(t.Context(), 3, 10, microseconds("a", 1000, 7, 5, 6), microseconds("b", 0, 1, 3, 2))
	if err != nil {
		t.Fatal(err)
	}
	if want := []efforts{{6, 12}, {2, 4}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want the medians %v", got, want)
	}
	if want := "abababab"; turns != want {
		t.Errorf("turns %s, want %s", turns, want)
	}
}

func TestARaceEndsWithTheFirstFailure(t *testing.T) {
	broken := errors.New("broken")
	fails := func(context.Context, int) (effort, error) { return effort{}, broken }
	if _, err := race(t.Context(), 1, 1, fails); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestASlopeIsThatOfTheLineThatFitsBest(t *testing.T) {
	for _, c := range []struct {
		name string
		y    []float64
		want float64
	}{
		{"flat", []float64{5, 5, 5, 5}, 0},
		{"straight", []float64{1, 3, 5, 7}, 2},
		{"scattered about a line", []float64{1, 0, 1, 0, 1}, 0},
		{"falling", []float64{3, 2, 1, 0}, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := slope([]float64{10, 11, 12, 13, 14}[:len(c.y)], c.y); got != c.want {
				t.Errorf("%g, want %g", got, c.want)
			}
		})
	}
}
