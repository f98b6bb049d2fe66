// Grafana's dashboard as it stands in a file: enumerations are their strings, and what only the Prometheus data source
// knows of an annotation is known too.
import type { AnnotationQuery, Dashboard } from '@grafana/schema';

type Json<T> = T extends string
  ? `${T}`
  : T extends (infer Item)[]
    ? Json<Item>[]
    : T extends object
      ? { [Key in keyof T]: Json<T[Key]> }
      : T;

type PrometheusAnnotation = Json<AnnotationQuery> & {
  target: { expr: string; instant: boolean; interval: string; range: boolean; refId: string };
  tagKeys: string;
  textFormat: string;
  titleFormat: string;
};

export type Board = Omit<Json<Dashboard>, 'annotations'> & { annotations: { list: PrometheusAnnotation[] } };
