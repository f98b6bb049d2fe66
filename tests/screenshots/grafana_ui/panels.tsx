// One panel of a dashboard, drawn with Grafana's own components and the rules of its JSON. State timelines and heat maps
// are drawn here, since Grafana's are not published; their colours, units and words are Grafana's.
import { type DataFrame, type Field, FieldType, type GrafanaTheme2, applyNullInsertThreshold, getDisplayProcessor } from '@grafana/data';
import { BarGauge, BigValue, TimeSeries, VizLegend } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import React from 'react';

type Props = { panel: any; frames: DataFrame[]; width: number; height: number; theme: GrafanaTheme2; range: any };

const numeric = (frame: DataFrame): Field => frame.fields.find((field) => field.type === FieldType.number)!;
const name = (frame: DataFrame): string => numeric(frame).config.displayName ?? numeric(frame).config.displayNameFromDS ?? '';
const last = (field: Field): any => field.values[field.values.length - 1];

export function Nothing({ panel, width, height }: Props) {
  const style = { width, height, display: 'flex', alignItems: 'center', justifyContent: 'center', opacity: 0.7 };
  return <div style={style}>{panel.fieldConfig.defaults.noValue ?? 'No data'}</div>;
}

export function Stat({ panel, frames, width, height, theme }: Props) {
  const down = panel.options.orientation === 'horizontal';
  const gap = 4;
  const count = Math.max(1, frames.length);
  const size = {
    width: down ? width : (width - gap * (count - 1)) / count,
    height: down ? (height - gap * (count - 1)) / count : height,
  };
  const values = frames.map((frame) => numeric(frame).display!(last(numeric(frame))));
  const shown = values.map((value, index) => ({ ...value, title: count > 1 ? name(frames[index]) : undefined }));
  return (
    <div style={{ display: 'flex', flexDirection: down ? 'column' : 'row', gap }}>
      {shown.map((value, index) => (
        <BigValue key={index} {...size} theme={theme} value={value} colorMode={panel.options.colorMode}
          graphMode={panel.options.graphMode} justifyMode={panel.options.justifyMode} />
      ))}
    </div>
  );
}

export function Bars({ panel, frames, width, height, theme }: Props) {
  const each = Math.min(40, height / Math.max(1, frames.length)) - 6;
  const most = Math.max(...frames.map((frame) => last(numeric(frame))));
  return (
    <div>
      {frames.map((frame, index) => {
        const field = numeric(frame);
        const config = { ...field.config, min: 0, max: most };
        const display = getDisplayProcessor({ field: { ...field, config }, theme });
        return (
          <div key={index} style={{ marginBottom: 6 }}>
            <BarGauge width={width} height={each} theme={theme} field={config} display={display} showUnfilled
              value={{ ...display(last(field)), title: name(frame) }} orientation={'horizontal' as any}
              displayMode={panel.options.displayMode} />
          </div>
        );
      })}
    </div>
  );
}

export function Lines({ panel, frames, width, height, range }: Props) {
  const [refFieldPseudoMin, refFieldPseudoMax] = [range.from.valueOf(), range.to.valueOf()];
  // as Grafana's panel does: the component does it for the first series only, and draws lines through others' gaps
  const whole = frames.map((frame) => applyNullInsertThreshold({ frame, refFieldPseudoMin, refFieldPseudoMax }));
  return (
    <TimeSeries frames={whole} width={width} height={height} timeRange={range} timeZone="utc"
      legend={panel.options.legend} options={panel.options} />
  );
}

export function Rows({ panel, frames, width, height }: Props) {
  const { sortBy, cellHeight } = panel.options;
  return <TableNG data={frames[0]} width={width} height={height} sortBy={sortBy} cellHeight={cellHeight} />;
}

const hours = (range: any): number[] => {
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const step = [15, 30, 60, 120, 180, 240].map((each) => each * 60e3).find((each) => (to - from) / each <= 7)!;
  const first = Math.ceil(from / step) * step;
  return Array.from({ length: Math.floor((to - first) / step) + 1 }, (_, index) => first + index * step);
};
const clock = (time: number): string => new Date(time).toISOString().slice(11, 16);

function TimeAxis({ range, left, width, top, theme }: any) {
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const fill = theme.colors.text.secondary;
  return hours(range).filter((time) => (to - time) / (to - from) * width > 16).map((time) => {
    const x = left + ((time - from) / (to - from)) * width;
    return <text key={time} x={x} y={top} fill={fill} fontSize={11} textAnchor="middle">{clock(time)}</text>;
  });
}

export function Timeline({ panel, frames, width, height, theme, range }: Props) {
  const shown = frames.slice(0, panel.options.perPage ?? 20);
  const left = Math.min(170, 16 + 6.5 * Math.max(...shown.map((frame) => name(frame).length)));
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const legendHeight = 26;
  const body = height - legendHeight - 20;
  const row = body / shown.length;
  const words: any[] = Object.values(panel.fieldConfig.defaults.mappings[0]?.options ?? {});
  const items = words.map((word) => ({ label: word.text, color: theme.visualization.getColorByName(word.color), yAxis: 1 }));
  return (
    <div>
      <svg width={width} height={height - legendHeight}>
        {shown.map((frame, index) => {
          const field = numeric(frame);
          const times = frame.fields[0].values;
          return (
            <g key={index}>
              <text x={left - 8} y={(index + 0.5) * row + 4} fill={theme.colors.text.primary} fontSize={12} textAnchor="end">
                {name(frame)}
              </text>
              {times.map((time: number, at: number) => {
                const next = at + 1 < times.length ? times[at + 1] : to;
                const x = left + ((time - from) / (to - from)) * (width - left);
                const length = Math.max(0.5, ((next - time) / (to - from)) * (width - left) + 0.5);
                const fill = field.display!(field.values[at]).color;
                return <rect key={at} x={x} y={index * row + row * 0.07} width={length} height={row * 0.86} fill={fill} />;
              })}
            </g>
          );
        })}
        <TimeAxis range={range} left={left} width={width - left} top={body + 15} theme={theme} />
      </svg>
      <VizLegend items={items} placement="bottom" displayMode={'list' as any} />
    </div>
  );
}

const ORANGES = [[255, 245, 235], [253, 208, 162], [253, 141, 60], [217, 72, 1], [127, 39, 4]];
function orange(part: number, dark: boolean): string {
  const at = (dark ? 1 - part : part) * (ORANGES.length - 1);
  const low = Math.min(ORANGES.length - 2, Math.floor(at));
  return `rgb(${ORANGES[low].map((from, index) => Math.round(from + (ORANGES[low + 1][index] - from) * (at - low))).join()})`;
}

export function Heat({ panel, frames, width, height, theme, range }: Props) {
  const ordered = [...frames].sort((one, other) => Number(name(one).replace('+Inf', 'Infinity')) - Number(name(other).replace('+Inf', 'Infinity')));
  const cells = ordered.map((frame, index) => {
    const below = index ? numeric(ordered[index - 1]).values : [];
    return { times: frame.fields[0].values, counts: numeric(frame).values.map((value: number, at: number) => value - (below[at] ?? 0)) };
  });
  const most = Math.max(1e-9, ...cells.flatMap((each) => each.counts));
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const left = 56;
  const body = height - 20;
  const row = body / ordered.length;
  const seconds = getDisplayProcessor({ field: { type: FieldType.number, config: { unit: panel.options.yAxis.unit } }, theme });
  const label = (value: string) => { const shown = seconds(Number(value)); return `${shown.text}${shown.suffix ?? ''}`; };
  return (
    <svg width={width} height={height}>
      {cells.map((each, index) => {
        const y = body - (index + 1) * row;
        return (
          <g key={index}>
            {name(ordered[index]) !== '+Inf' && (
              <text x={left - 6} y={y + 4} fill={theme.colors.text.secondary} fontSize={11} textAnchor="end">{label(name(ordered[index]))}</text>
            )}
            {each.times.map((time: number, at: number) => {
              if (!(each.counts[at] > 1e-9)) return null;
              const x = left + ((time - from) / (to - from)) * (width - left);
              const length = ((each.times[1] - each.times[0]) / (to - from)) * (width - left);
              return <rect key={at} x={x} y={y} width={Math.max(1, length - 1)} height={row - 1} fill={orange(Math.sqrt(each.counts[at] / most), theme.isDark)} />;
            })}
          </g>
        );
      })}
      <TimeAxis range={range} left={left} width={width - left} top={body + 15} theme={theme} />
    </svg>
  );
}

export const KINDS: Record<string, React.FC<Props>> = {
  stat: Stat, bargauge: Bars, timeseries: Lines, table: Rows, 'state-timeline': Timeline, heatmap: Heat,
};
