// A dashboard on its own grid: its JSON and the answers of Prometheus come in window.PICTURE.
import {
  applyFieldOverrides, createDataFrame, createTheme, type DataFrame, dateTime, FieldType, identityOverrideProcessor,
  standardFieldConfigEditorRegistry, standardTransformers, standardTransformersRegistry, ThemeContext, transformDataFrame,
} from '@grafana/data';
import { GlobalStyles, PanelChrome } from '@grafana/ui';
import React from 'react';
import { createRoot } from 'react-dom/client';

import { KINDS, Nothing } from './panels';

const { board, answers, from, to, mode } = (window as any).PICTURE;
const CELL = { width: (window.innerWidth - 16) / 24, height: 30, gap: 8 };
const STANDARD = ['unit', 'min', 'max', 'decimals', 'color', 'thresholds', 'mappings', 'displayName', 'noValue', 'links'];

const option = (id: string, path: string, isCustom: boolean): any => ({
  id, path, isCustom, name: id, editor: () => null, override: () => null, process: identityOverrideProcessor,
  shouldApply: () => true, getItemsCount: () => 0,
});
standardFieldConfigEditorRegistry.setInit(() => STANDARD.map((id) => option(id, id, false)));
const transformers = [...new Map(Object.values(standardTransformers).map((each: any) => [each.id, each])).values()];
standardTransformersRegistry.setInit(() => transformers.map((each: any) => ({
  id: each.id, name: each.name, transformation: () => Promise.resolve(each), editor: () => null, description: '', imageDark: '', imageLight: '',
})) as any);

const theme = createTheme({ colors: { mode } });
const range: any = { from: dateTime(from * 1000), to: dateTime(to * 1000), raw: { from: '', to: '' } };

function registryOf(panel: any): any {
  const ids = new Set<string>(Object.keys(panel.fieldConfig.defaults.custom ?? {}).map((key) => `custom.${key}`));
  panel.fieldConfig.overrides.forEach((each: any) => each.properties.forEach((one: any) => one.id.startsWith('custom.') && ids.add(one.id)));
  const all = [...STANDARD.map((id) => option(id, id, false)), ...[...ids].map((id) => option(id, id.slice(7), true))];
  return { list: () => all, getIfExists: (id: string) => all.find((each) => each.id === id), get: (id: string) => all.find((each) => each.id === id) };
}

function legend(target: any, labels: Record<string, string>): string {
  if (target.legendFormat) {
    return target.legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_: string, label: string) => labels[label] ?? '');
  }
  return Object.values(labels).join(' ') || target.expr;
}

function seriesFrames(panel: any): DataFrame[] {
  const step = Math.max(60, Math.ceil((to - from) / (panel.maxDataPoints ?? 1000))) * 1000;
  return panel.targets.flatMap((target: any, index: number) =>
    answers[panel.id][index].map((each: any) => {
      const samples = each.values ?? [each.value];
      return createDataFrame({
        refId: target.refId,
        fields: [
          { name: 'Time', type: FieldType.time, config: { interval: step }, values: samples.map((sample: any) => sample[0] * 1000) },
          { name: 'Value', type: FieldType.number, labels: each.metric, values: samples.map((sample: any) => Number(sample[1])),
            config: { displayNameFromDS: legend(target, each.metric) } },
        ],
      });
    })
  );
}

async function tableFrames(panel: any): Promise<DataFrame[]> {
  const many = panel.targets.length > 1;
  const frames = panel.targets.map((target: any, index: number) => {
    const rows = answers[panel.id][index];
    const labels = [...new Set<string>(rows.flatMap((row: any) => Object.keys(row.metric)))].sort();
    return createDataFrame({
      refId: target.refId,
      fields: [
        { name: 'Time', type: FieldType.time, values: rows.map((row: any) => row.value[0] * 1000) },
        ...labels.map((label) => ({ name: label, type: FieldType.string, values: rows.map((row: any) => row.metric[label]) })),
        { name: many ? `Value #${target.refId}` : 'Value', type: FieldType.number, values: rows.map((row: any) => Number(row.value[1])) },
      ],
    });
  });
  return new Promise((resolve) =>
    transformDataFrame(panel.transformations ?? [], frames.filter((frame: DataFrame) => frame.length), { interpolate: (text: string) => text }).subscribe(resolve)
  );
}

async function framesOf(panel: any): Promise<DataFrame[]> {
  const data = panel.type === 'table' ? await tableFrames(panel) : seriesFrames(panel);
  const frames = applyFieldOverrides({
    data, fieldConfig: panel.fieldConfig, replaceVariables: (text: string) => text, theme, fieldConfigRegistry: registryOf(panel), timeZone: 'utc',
  });
  frames.forEach((frame) => frame.fields.forEach((field) => {
    field.name = panel.type === 'table' ? field.config.displayName ?? field.name : field.name;
    field.state = panel.type === 'table' ? { ...field.state, displayName: field.name } : field.state;
  }));
  return frames;
}

function Placed({ panel, frames }: { panel: any; frames: DataFrame[] }) {
  const { x, y, w, h } = panel.gridPos;
  const width = w * CELL.width - CELL.gap;
  const height = h * (CELL.height + CELL.gap) - CELL.gap;
  const style: React.CSSProperties = { position: 'absolute', left: 8 + x * CELL.width, top: 8 + y * (CELL.height + CELL.gap), width, height };
  if (panel.type === 'row') {
    return <div style={{ ...style, ...theme.typography.h5, lineHeight: `${height}px` }}>⌄ {panel.title}</div>;
  }
  const Kind = frames.some((frame) => frame.length) ? KINDS[panel.type] : Nothing;
  return (
    <div style={style}>
      <PanelChrome title={panel.title} description={panel.description} width={width} height={height}>
        {(innerWidth, innerHeight) => <Kind panel={panel} frames={frames} width={innerWidth} height={innerHeight} theme={theme} range={range} />}
      </PanelChrome>
    </div>
  );
}

async function draw() {
  const panels = await Promise.all(board.panels.map(async (panel: any) => ({ panel, frames: panel.type === 'row' ? [] : await framesOf(panel) })));
  const bottom = Math.max(...board.panels.map((panel: any) => panel.gridPos.y + panel.gridPos.h));
  document.body.style.cssText = `margin: 0; background: ${theme.colors.background.canvas}; color: ${theme.colors.text.primary}; font-family: ${theme.typography.fontFamily}; height: ${bottom * (CELL.height + CELL.gap) + 16}px`;
  createRoot(document.getElementById('dashboard')!).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      {panels.map(({ panel, frames }) => <Placed key={panel.id} panel={panel} frames={frames} />)}
    </ThemeContext.Provider>
  );
}

draw().then(
  () => ((window as any).drawn = 'whole'),
  (error) => ((window as any).drawn = `${error.stack}`)
);
